"""Regions of the picture that grow out of others by what the remembered frames show."""
