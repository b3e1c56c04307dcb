"""How the embedded model is made: `python -m framepack_transitions.tiny.train`."""
