"""How fast vstream is on this machine: `python -m eval speed`, one module for each measurement."""
