"""Files of weights: checkpoints and LoRAs."""
