"""Nodes of the techniques that change the packed past."""
