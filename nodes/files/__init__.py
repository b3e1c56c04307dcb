"""Files that people give and name: what is read of them, and what they may be called."""
