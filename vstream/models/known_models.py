"""Known models: published Video-LLMs by hub id, with their sizes and the memory they need.

`published_shapes.json` has what their config.json says, so no hub is asked.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

_HALF_BYTES, _FLOAT_BYTES = 2, 4
_ROOM = 1.2
"""Times the weights: a camera's window, one question and the rest take the extra."""


@dataclass(frozen=True)
class KnownModel:
    """A published model. `shape` is its config.json, with the family as `family`."""

    name: str
    hub_id: str
    parameters: int
    shape: Mapping[str, Any]

    @property
    def config(self) -> dict[str, Any]:
        """What config.json says about sizes."""
        return {**self.shape, "model_type": self.shape["family"]}

    @property
    def disk_bytes(self) -> int:
        """Size of the download, which is in half precision."""
        return self.parameters * _HALF_BYTES

    def device_bytes(self, *, is_card: bool) -> int:
        """Return the size of the weights: in bfloat16 on a GPU, in float32 on a CPU."""
        return self.parameters * (_HALF_BYTES if is_card else _FLOAT_BYTES)


def _read() -> tuple[KnownModel, ...]:
    read = json.loads(files("vstream.models").joinpath("published_shapes.json").read_text("utf-8"))
    return tuple(
        KnownModel(name, shape.pop("hub_id"), shape.pop("parameters"), shape)
        for name, shape in read.items()
    )


KNOWN = _read()


def known_model(name: str | None) -> KnownModel | None:
    """Return the model with that hub id, or with our short name for it."""
    return next((model for model in KNOWN if name in (model.hub_id, model.name)), None)


def fitting(card_bytes: int | None, ram_bytes: int) -> KnownModel | None:
    """Return the largest that fits a GPU's free memory; without GPU, the smallest that fits RAM."""
    is_card = card_bytes is not None
    room = ram_bytes if card_bytes is None else card_bytes
    fit = [one for one in KNOWN if _ROOM * one.device_bytes(is_card=is_card) <= room]
    if not fit:
        return None
    return (max if is_card else min)(fit, key=lambda one: one.parameters)
