"""Clips and pictures become examples."""
