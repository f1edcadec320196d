"""require_room: a checkpoint's directory and a device in; refused where its weights cannot fit.

A process that takes more RAM than there is gets killed without a word. So the sizes that the
checkpoint's files name are compared with what is free before.
"""

import json
from math import prod
from pathlib import Path

import psutil
import torch
from safetensors import safe_open

from vstream.errors import ModelError

_INDEX = "model.safetensors.index.json"
_ONE_FILE = "model.safetensors"


def require_room(directory: Path, device: torch.device, dtype: torch.dtype) -> None:
    """Raises ModelError with both sizes, OSError or SafetensorError for files that are damaged.

    On the way to a card the weights are in RAM once. Where the files do not say it, nothing is
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
