"""From latents to frames to files, and the picture sizes that FramePack knows."""
