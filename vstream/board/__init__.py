"""Questions in Redis that any process with the model answers."""
