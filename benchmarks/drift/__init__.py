"""Drift: whether colours stay what they are over a long video, and what the colour anchor does about a drift that is planted."""
