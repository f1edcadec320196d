"""full: the prefill and every question see every block."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from memory.ageing import AgeingStep, AgingBlocks
from memory.policies.policy import Card, Encoding, MemoryPolicy

if TYPE_CHECKING:
    from memory.block_store import Span

_CHUNK_FRAMES = 64
"""Each chunk rotates the whole past, so few long chunks cost less."""


class Full(MemoryPolicy):
    """The reference for other policies, as long as the model's positions last."""

    name = "full"
    card = Card(
        paper="a baseline; the Video-LLM as it was trained, on the whole stream",
        keeps="every block; each sees all before it, and a question reads all of them",
        takes_budget=False,
    )
    changes_store = True

    def encoding(self) -> Encoding:
        return Encoding(0, 1, chunk_blocks=self.shape.blocks(_CHUNK_FRAMES))

    def recent_blocks(self) -> None:
        return None

    def age(self, spans: "Sequence[Span]", blocks: AgingBlocks) -> AgeingStep | None:
        return None
