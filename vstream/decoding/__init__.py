"""Chooses the next token of an answer from its logits."""
