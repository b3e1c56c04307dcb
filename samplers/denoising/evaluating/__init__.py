"""Evaluations of the model: what they are asked for, and those that look for something in the past."""
