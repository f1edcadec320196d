"""The day: one long stream, encoded once, kept by memories of several kinds and asked about."""

from eval.day.command import day

__all__ = ["day"]
