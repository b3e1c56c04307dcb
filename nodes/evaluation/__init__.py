"""Nodes that measure how a video follows its prompts."""
