"""The step caches beside each other: calls of the model that they save, and what they cost a switch of the prompt."""
