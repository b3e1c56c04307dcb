"""The commands that make training data for musubi-tuner."""
