"""Nodes of the techniques that change how the window attends."""
