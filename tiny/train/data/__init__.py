"""Training data: clips of the world, and windows of them with their past and text."""
