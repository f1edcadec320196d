"""E.T. Bench: its official score of a model's answers, reproduced, and a strict one beside it."""

from eval.etbench.command import etbench

__all__ = ["etbench"]
