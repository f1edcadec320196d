"""Known models: published Video-LLMs by hub id, with their sizes and the room that they need.

`published_shapes.json` has them as their config.json gives them: nothing is asked of a hub.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

_HALF_BYTES, _FLOAT_BYTES = 2, 4
_ROOM = 1.2
"""Of the weights: what the window of a camera, one question and the rest take on top."""


@dataclass(frozen=True)
class KnownModel:
    """A published model. `shape` is its config.json, with the family as `family`."""

    name: str
    hub_id: str
    parameters: int
    shape: Mapping[str, Any]

    @property
    def config(self) -> dict[str, Any]:
        """As config.json has it, as far as sizes go."""
        return {**self.shape, "model_type": self.shape["family"]}

    @property
    def disk_bytes(self) -> int:
        """Of the download: it is published in half precision."""
        return self.parameters * _HALF_BYTES

    def device_bytes(self, *, is_card: bool) -> int:
        """Of the weights: in bfloat16 on a card, in float32 on a CPU."""
        return self.parameters * (_HALF_BYTES if is_card else _FLOAT_BYTES)


def _read() -> tuple[KnownModel, ...]:
    told = json.loads(files("vstream.models").joinpath("published_shapes.json").read_text("utf-8"))
    return tuple(
        KnownModel(name, shape.pop("hub_id"), shape.pop("parameters"), shape)
        for name, shape in told.items()
    )


KNOWN = _read()


def known_model(name: str | None) -> KnownModel | None:
    """The one of that hub id, or of our short name for it."""
    return next((one for one in KNOWN if name in (one.hub_id, one.name)), None)


def fitting(card_bytes: int | None, ram_bytes: int) -> KnownModel | None:
    """The largest for so much free card memory; without a card the smallest that RAM holds."""
    is_card = card_bytes is not None
    room = ram_bytes if card_bytes is None else card_bytes
    fit = [one for one in KNOWN if _ROOM * one.device_bytes(is_card=is_card) <= room]
    if not fit:
        return None
    return (max if is_card else min)(fit, key=lambda one: one.parameters)
