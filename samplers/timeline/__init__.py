"""Prompts over time: their notations, and the section that each of them lands on."""
