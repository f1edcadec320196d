"""The weights that come with vstream."""

from importlib.resources import files
from pathlib import Path

__all__ = ["embedded_weights"]


def embedded_weights() -> Path:
    """Return the directory of the embedded model, an ordinary transformers checkpoint."""
    return Path(str(files("vstream.models.weights").joinpath("embedded")))
