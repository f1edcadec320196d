"""How fast vstream is on this machine: `python -m eval speed`, one module for each measurement."""

from eval.speed.command import speed

__all__ = ["speed"]
