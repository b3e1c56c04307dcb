"""The layers that the transformer is built from."""
