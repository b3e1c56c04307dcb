"""What contradicts what in a dataset: files, tensors, captions and pictures."""
