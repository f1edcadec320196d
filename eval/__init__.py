"""Benchmarks through the same engine as the product, the made-up world, and training."""
