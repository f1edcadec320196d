"""E.T. Bench: reproduces its official score of a model's answers, with a strict one besides."""

from eval.etbench.command import etbench

__all__ = ["etbench"]
