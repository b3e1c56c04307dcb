"""Attention over the joint sequence: the plain call, gates on the packed past, and what is measured beside it."""
