"""`vstream policies`: list the memory policies with their paper, settings and bytes."""

import json
from dataclasses import dataclass

from app.held_bytes import held_bytes, model_shape
from app.model_config import model_config
from app.terminal import Terminal, table_of
from encoders.block_shape import BlockShape, block_shape
from memory.errors import PolicyError, UnknownNameError
from memory.policies import POLICIES
from memory.policies.policy import MemoryPolicy

_HOUR_S = 3600
_FLOAT_BYTES = 4


@dataclass(frozen=True)
class KeptBytes:
    """Bytes of a stream without its pictures, at one frame per second, in int8, if every frame
    differs from the last: its growth per hour once it is long, or its final size if it is bounded.
    """

    an_hour: int
    at_most: int | None


def list_policies(terminal: Terminal, model: str | None, *, as_json: bool) -> None:
    """Print a table, or one JSON list on the last line, and report policies that cannot be loaded.
    Raises ModelError without the model's config.json.
    """
    shape = block_shape(model_config(model))
    if shape is None:
        terminal.say("the block size of this model's family is unknown")
    found: list[type[MemoryPolicy]] = []
    for name in POLICIES.names():
        try:
            found.append(POLICIES.find(name))
        except UnknownNameError as error:
            terminal.say(str(error))
    kept = {policy.name: None if shape is None else kept_by(policy, shape) for policy in found}
    if as_json:
        terminal.document(json.dumps([_document(one, kept[one.name]) for one in found]))
        return
    rows = [
        (
            one.name,
            one.card.keeps,
            _shown(kept[one.name]),
            ", ".join(one.Settings.model_fields),
            one.card.paper,
        )
        for one in found
    ]
    headings = ("policy", "what it keeps and reads", "per hour", "settings", "paper")
    terminal.out.print(table_of(headings, rows))


def kept_by(policy: type[MemoryPolicy], shape: BlockShape) -> KeptBytes | None:
    """What a policy keeps with its default settings; None if it does not fit this model."""
    try:
        chosen = policy(model_shape(shape), policy.read_settings({}))
    except PolicyError:
        return None

    def so_far(seconds: int) -> int:
        return held_bytes(chosen, shape, seconds, BlockShape.kept_bytes, _FLOAT_BYTES)

    an_hour = so_far(2 * _HOUR_S) - so_far(_HOUR_S)
    return KeptBytes(an_hour, None if an_hour else so_far(_HOUR_S))


def _shown(kept: KeptBytes | None) -> str:
    if kept is None:
        return "-"
    if kept.at_most is None:
        return f"{kept.an_hour / 1e6:.1f} MB"
    return f"bounded: {kept.at_most / 1e6:.1f} MB"


def _document(policy: type[MemoryPolicy], kept: KeptBytes | None) -> dict[str, object]:
    card = policy.card
    return {
        "name": policy.name,
        "paper": card.paper,
        "keeps": card.keeps,
        "differs": card.differs,
        "exact": card.is_exact,
        "changes_store": policy.changes_store,
        "takes_budget": card.takes_budget,
        "bytes_an_hour": kept and kept.an_hour,
        "bytes_at_most": kept and kept.at_most,
        "settings": policy.Settings.model_json_schema().get("properties", {}),
    }
