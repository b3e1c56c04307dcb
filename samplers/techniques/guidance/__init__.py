"""Techniques that change how strongly texts pull."""
