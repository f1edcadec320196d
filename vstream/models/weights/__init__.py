"""The weights that come with vstream: no input, the directory of a checkpoint out."""

from importlib.resources import files
from pathlib import Path

__all__ = ["embedded_weights"]


def embedded_weights() -> Path:
    """The directory of the embedded model, an ordinary transformers checkpoint."""
    return Path(str(files("vstream.models.weights").joinpath("embedded")))
