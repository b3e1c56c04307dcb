"""What a new shot keeps of the one before it."""
