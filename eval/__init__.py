"""Benchmarks that run through the product's engine, the made-up world, and training."""
