"""E.T. Bench: reproduces the official score of a model's answers."""
