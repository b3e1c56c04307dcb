"""Nodes of the techniques that change the noise levels of a section."""
