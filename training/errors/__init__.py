"""The errors that a model makes, and copies of examples that remember them."""
