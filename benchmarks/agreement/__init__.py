"""Whether the metrics agree with the truth."""
