"""The networks of the embedded model: codec, text encoder, vision tower and transformer."""
