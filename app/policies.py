"""`vstream policies`: the memory policies that can be chosen, with paper, settings and bytes."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from app.terminal import Terminal, table_of
from encoders.block_shape import BlockShape, block_shape
from memory.errors import PolicyError, UnknownNameError
from memory.policies import POLICIES
from memory.policies.policy import MemoryPolicy, ModelShape
from vstream.errors import ModelError
from vstream.models.weights import embedded_weights

_HOUR_S = 3600
_MOST_MORE = 4
"""Where only so many blocks are kept, at most a quarter as many are there in addition."""


@dataclass(frozen=True)
class KeptBytes:
    """Bytes of a stream at a frame a second in int8, pictures apart, no frame of which is like the
    one before: what it grows by in an hour once it is long, and how large it gets where it does
    not grow forever.
    """

    an_hour: int
    at_most: int | None


def list_policies(terminal: Terminal, model: str | None, *, as_json: bool) -> None:
    """A table, or one JSON list on the last line. One that cannot be loaded is named. Raises
    ModelError where there is no config.json of that model.
    """
    shape = block_shape(_config(model))
    if shape is None:
        terminal.say("of this model's family it is not known how large its blocks are")
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
    headings = ("policy", "what it keeps and reads", "an hour", "settings", "paper")
    terminal.out.print(table_of(headings, rows))


def kept_by(policy: type[MemoryPolicy], shape: BlockShape) -> KeptBytes | None:
    """With its settings as they are; None if it is not for this model."""
    told = shape.recommended
    model = ModelShape(
        frames_per_block=shape.frames,
        block_tokens=lambda: shape.tokens,
        head_vector_bytes=shape.head_vector_bytes,
        window_frames=told.window_frames,
        window_stride=told.window_stride,
        recent_frames=told.recent_frames,
        retrieve_blocks=told.retrieve_blocks,
        sentence_vectors=lambda texts: None,  # type: ignore[arg-type, return-value]
    )
    try:
        chosen = policy(model, policy.told({}))
    except PolicyError:
        return None
    most, token_bytes = chosen.keep_blocks(), shape.tokens * shape.d_model * 4
    old = replace(shape, tokens=chosen.num_kept(shape.tokens))

    def so_far(seconds: int) -> int:
        blocks = seconds // shape.frames
        if most is not None:
            blocks = min(blocks, most + most // _MOST_MORE)
        return blocks * old.kept_bytes(chosen.rewritten_codec()) + chosen.noted_bytes(
            seconds, token_bytes
        )

    an_hour = so_far(2 * _HOUR_S) - so_far(_HOUR_S)
    return KeptBytes(an_hour, None if an_hour else so_far(_HOUR_S))


def _config(model: str | None) -> dict[str, Any]:
    """The config.json of the model that is meant, of a hub id no other file. Raises ModelError."""
    path = (Path(model).expanduser() if model else embedded_weights()) / "config.json"
    try:
        if model and not path.parent.is_dir():
            from huggingface_hub import hf_hub_download

            path = Path(hf_hub_download(model, "config.json"))
        config: dict[str, Any] = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"model {model}: its config.json cannot be read: {error}") from error
    return config


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
