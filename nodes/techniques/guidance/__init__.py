"""Nodes of the techniques that change how strongly texts pull."""
