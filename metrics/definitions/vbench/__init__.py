"""Two axes of VBench that need no model of their own.

They follow Huang et al. 2024, arXiv 2311.17982, and Vchitect/VBench, `temporal_flickering.py` and `background_consistency.py`.
VBench knows one prompt a video, so that each stretch between two switches is scored by itself, as `export --to vbench`
cuts videos.
"""
