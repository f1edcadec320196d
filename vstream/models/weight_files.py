"""Weight files: say which weights a checkpoint has, and whether there is memory for them.

No other weights may read the blocks that these made, so a checkpoint has a fingerprint. A process
that takes more RAM than there is gets killed without a word, so the sizes that the files name are
first compared with what is free.
"""

import hashlib
import json
from collections.abc import Sequence
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
_PACKED_BYTES = {
    "BOOL": 1,
    "I8": 1,
    "U8": 1,
    "F8_E4M3": 1,
    "F8_E5M2": 1,
    "I16": 2,
    "I32": 4,
    "I64": 8,
}
"""How safetensors names what is no plain number, but codes or fp8; bytes of each."""


def checkpoint_fingerprint(directory: Path, weights: Sequence[Path] = ()) -> str:
    """Return 16 hex digits over the small files in `directory` and samples of the `weights`;
    without them, of its safetensors files.

    Configuration, tokenizer, chat template and preprocessing count, because they change what is
    kept. Of each file of weights only the header and 64 evenly spread samples of 64 kB are read,
    so a checkpoint of 15 GB takes milliseconds. A change outside all samples goes unnoticed.
    """
    digest = hashlib.sha256()
    for path in sorted(directory.iterdir()):
        if path.suffix in _SMALL_FILES:
            digest.update(f"{path.name} ".encode() + path.read_bytes())
    for path in weights or sorted(directory.glob("*.safetensors")):
        size = path.stat().st_size
        digest.update(f"{path.name} {size}".encode())
        with path.open("rb") as file:
            for i in range(_NUM_SAMPLES):
                file.seek(size * i // _NUM_SAMPLES)
                digest.update(file.read(_SAMPLE_BYTES))
    return digest.hexdigest()[:16]


def require_room(directory: Path, device: torch.device, dtype: torch.dtype) -> None:
    """Raise ModelError with both sizes if memory is short, OSError or SafetensorError for damaged
    files. On the way to a GPU the weights pass through RAM. Files that give no sizes are not
    refused.
    """
    needed = weight_bytes(directory, dtype.itemsize)
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


def weight_bytes(directory: Path, number_bytes: int) -> int:
    """Return the size of the weights that transformers would read, once loaded; 0 without such
    files. A plain number takes `number_bytes`. Packed weights keep the size that they have there.
    """
    index = directory / _INDEX
    if index.is_file():
        names = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
    else:
        names = {_ONE_FILE} if (directory / _ONE_FILE).is_file() else set()
    total = 0
    for name in names:
        with safe_open(directory / name, framework="pt") as file:
            for key in file.keys():  # noqa: SIM118
                weight = file.get_slice(key)
                size = _PACKED_BYTES.get(weight.get_dtype(), number_bytes)
                total += prod(weight.get_shape()) * size
    return total
