"""The study of exemplars: clips that are found by the new prompt and stand in for the memory of the old scene."""
