"""The FramePack transformer in plain torch, its checkpoints, and the models built around it."""
