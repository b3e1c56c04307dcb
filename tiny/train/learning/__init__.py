"""How the transformer learns: the optimizer, the step, and the loop of a run."""
