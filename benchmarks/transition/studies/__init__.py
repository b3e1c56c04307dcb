"""Studies of switches with arms and tables of their own: doses, sets that could be presets, two subjects, past against prompt."""
