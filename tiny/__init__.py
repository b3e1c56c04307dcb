"""The embedded demonstration model: a miniature FramePack that runs on a CPU."""
