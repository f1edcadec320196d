"""Logits in, the next token of an answer out."""
