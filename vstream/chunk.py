"""Chunk: what the write path made of a few blocks' frames, on its way into the memory."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from encoders import Frame
from memory import BlockInfo, KVBlock
from memory.policy_hooks import StateChange, Tokens
from vstream.engine.prefill import LayerKV, Mass


@dataclass(frozen=True, eq=False)
class Chunk:
    """One chunk of one stream: a newest frame, tokens, keys and values for each block."""

    newest: Sequence[Frame]
    tokens: Sequence[Tokens]
    layers: Sequence[LayerKV]
    mass: Sequence[Mass]
    """Of each block, where it is wanted."""
    left: Sequence[Mapping[int, Tensor]]
    """With each block, the head vectors of those that left the window."""
    noted: StateChange
    """What the write path notes with the last block."""
    pictures: Sequence[Tensor]
    """What the family makes of each block's picture, where it is wanted."""
    made: torch.cuda.Event | None
    """What a card passes once the keys and values are there."""


def block_of(
    newest: Frame, tokens: Tokens, kv: LayerKV, picture: bytes, left: Mapping[int, Tensor]
) -> KVBlock:
    """What is kept of one block, with the picture and the head vectors that it carries."""
    info = BlockInfo(
        start_s=tokens.start_s,
        end_s=tokens.end_s,
        captured_at=newest.captured_at,
        positions=tokens.positions,
        advance=tokens.advance,
    )
    return KVBlock(
        info,
        keys=torch.stack([keys for keys, _ in kv]),
        values=torch.stack([values for _, values in kv]),
        thumbnail=picture,
        left=left,
    )
