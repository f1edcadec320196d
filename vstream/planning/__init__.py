"""Answers questions about time from spans that a search finds."""
