"""Measurements: TransitionBench."""
