"""Techniques that change the noise levels of a section."""
