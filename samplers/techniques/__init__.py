"""Remedies for a memory that refuses change: one file each, a frozen dataclass with its formula and hooks."""
