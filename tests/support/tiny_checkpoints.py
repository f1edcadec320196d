"""Tiny random checkpoints, laid out file by file as the published ones of each family."""

import json
import tempfile
from pathlib import Path

from tiny_models import TEXT_MODELS, VIDEO_FAMILIES, family_case, tiny_model

from vstream.models.families import make_family

__all__ = [
    "TEXT_MODELS",
    "VIDEO_FAMILIES",
    "family_with",
    "made",
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


def save_tiny_files(name, directory):
    """All of a checkpoint but config.json and the weights."""
    family_case(name).files.write(Path(directory))


def tiny_family(name, model, sample_fps=1.0):
    """The family of a tiny model, made as from its checkpoint."""
    with tempfile.TemporaryDirectory() as directory:
        return family_with(name, model, Path(directory), sample_fps)


def made(name, sample_fps=1.0):
    """A tiny model and its family."""
    model = tiny_model(name)
    return model, tiny_family(name, model, sample_fps)


def family_with(name, model, directory, sample_fps=1.0, **preprocessor):
    """The family of a tiny model whose checkpoint has other preprocessor settings."""
    model.config.save_pretrained(directory)
    save_tiny_files(name, directory)
    for path in directory.glob("*preprocessor_config.json"):
        path.write_text(json.dumps({**json.loads(path.read_text()), **preprocessor}))
    return make_family(model, directory, sample_fps)
