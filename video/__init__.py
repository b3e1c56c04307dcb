"""From latents to frames and files, and the picture sizes that FramePack was trained on."""
