"""The command `sweep`: a workflow with every combination of some values, in one table, contact sheet and plot."""
