"""Techniques that change the packed past."""
