"""Training data for FramePack's LoRAs: clips with prompts over time become examples that musubi-tuner trains on."""
