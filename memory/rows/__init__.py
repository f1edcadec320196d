"""Rows of bytes: one layer of one block each, how they are made, moved and decoded."""
