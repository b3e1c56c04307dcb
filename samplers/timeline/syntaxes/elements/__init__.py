"""What the notations are made of: marks, times, entries with a start and an end, and pieces between separators."""
