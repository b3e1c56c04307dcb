"""Layout original, where the later prompt's sections are made first: whether they show it, and what acts in them too."""
