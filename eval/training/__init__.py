"""Training and measuring the embedded model: streams of the made-up world in, checkpoints out."""
