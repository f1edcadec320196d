"""Experiments: what was tried, each with a verdict in docs/experiments.md."""
