"""Tiny random checkpoints, laid out file by file as the published ones of each family."""

import tempfile
from pathlib import Path

from tiny_files import save_tiny_files
from tiny_models import TEXT_MODELS, VIDEO_FAMILIES, tiny_model

from encoders import make_family

__all__ = [
    "TEXT_MODELS",
    "VIDEO_FAMILIES",
    "save_tiny_checkpoint",
    "save_tiny_files",
    "tiny_family",
    "tiny_model",
]


def save_tiny_checkpoint(name, directory, seed=0):
    """A whole checkpoint; AutoModelForImageTextToText.from_pretrained loads it."""
    model = tiny_model(name, seed)
    model.save_pretrained(directory)
    save_tiny_files(name, directory)
    return Path(directory)


def tiny_family(name, model, sample_fps=1.0):
    """The family of a tiny model, made as from its checkpoint."""
    with tempfile.TemporaryDirectory() as directory:
        model.config.save_pretrained(directory)
        save_tiny_files(name, directory)
        return make_family(model, Path(directory), sample_fps)
