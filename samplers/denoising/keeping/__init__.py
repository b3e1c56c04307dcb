"""Finished sections of earlier runs: which of them stand for a section of this run, and how they are taken over."""
