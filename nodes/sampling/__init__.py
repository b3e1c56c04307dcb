"""Nodes that sample, and the one that shows beforehand what sampling would do."""
