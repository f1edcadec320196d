"""Finds the moments of the past that are most like a few words."""
