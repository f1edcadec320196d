"""Where the outputs of a paper's official code lie, which a test reproduces."""

import json
import os
from pathlib import Path

from safetensors.torch import load_file

_OURS = Path(__file__).parents[1] / "data"


def official_fixture(name):
    """The directory of that name in VSTREAM_FIXTURES; without it, in tests/data."""
    return Path(os.environ.get("VSTREAM_FIXTURES", _OURS)) / name


def cases_of(name):
    """Its cases.json."""
    return json.loads((official_fixture(name) / "cases.json").read_text())


def tensors_of(name, file="expected.safetensors"):
    """The tensors of one of its files, by name."""
    return load_file(official_fixture(name) / file)
