"""What a checkpoint's files say: which weights they are, and whether there is room for them.

Blocks made with other weights must never be read as its own: so it has a fingerprint. A process
that takes more RAM than there is gets killed without a word: so the sizes that the files name are
compared with what is free before.
"""

import hashlib
import json
from math import prod
from pathlib import Path

import psutil
import torch
from safetensors import safe_open

from vstream.errors import ModelError

_SAMPLE_BYTES = 1 << 16
_NUM_SAMPLES = 64
_SMALL_FILES = {".json", ".jinja", ".txt", ".model"}
_INDEX = "model.safetensors.index.json"
_ONE_FILE = "model.safetensors"


def checkpoint_fingerprint(directory: Path) -> str:
    """16 hex digits over the small files and samples of every weight file in `directory`.

    Configuration, tokenizer, chat template and preprocessing count, for they change what is kept.
    Of each safetensors file the header and 64 evenly spread samples of 64 kB are read, not the
    whole: a checkpoint of 15 GB takes milliseconds. A change outside all samples goes unnoticed.
    """
    digest = hashlib.sha256()
    for path in sorted(directory.iterdir()):
        if path.suffix in _SMALL_FILES:
            digest.update(f"{path.name} ".encode() + path.read_bytes())
    for path in sorted(directory.glob("*.safetensors")):
        size = path.stat().st_size
        digest.update(f"{path.name} {size}".encode())
        with path.open("rb") as file:
            for i in range(_NUM_SAMPLES):
                file.seek(size * i // _NUM_SAMPLES)
                digest.update(file.read(_SAMPLE_BYTES))
    return digest.hexdigest()[:16]


def require_room(directory: Path, device: torch.device, dtype: torch.dtype) -> None:
    """Raises ModelError with both sizes, OSError or SafetensorError for files that are damaged. On
    the way to a card the weights are in RAM once. Where the files do not say it, nothing is
    refused.
    """
    needed = num_weights(directory) * dtype.itemsize
    rooms = {"RAM": psutil.virtual_memory().available}
    if device.type == "cuda":
        rooms["the card's memory"] = torch.cuda.mem_get_info(device)[0]
    for place, free in rooms.items():
        if needed > free:
            name = str(dtype).removeprefix("torch.")
            raise ModelError(
                f"no room for the weights in {directory}: {needed / 1e9:.1f} GB in {name}, "
                f"and {free / 1e9:.1f} GB of {place} is free. Free some, take a smaller model, or "
                "one half as large (--dtype bfloat16)"
            )


def num_weights(directory: Path) -> int:
    """Numbers in the files that transformers would read; 0 where there are none of those names."""
    index = directory / _INDEX
    if index.is_file():
        names = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
    else:
        names = {_ONE_FILE} if (directory / _ONE_FILE).is_file() else set()
    total = 0
    for name in names:
        with safe_open(directory / name, framework="pt") as file:
            total += sum(prod(file.get_slice(key).get_shape()) for key in file.keys())  # noqa: SIM118
    return total
