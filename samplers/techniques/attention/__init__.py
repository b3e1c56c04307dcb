"""Techniques that change how the window attends."""
