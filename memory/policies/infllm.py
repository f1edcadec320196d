"""infllm: a block retrieves its past as it is encoded, by the tokens that got the most attention.

Source: InfLLM (Xiao et al., NeurIPS 2024, https://arxiv.org/abs/2402.04617), section 3. The
attention rules are in `vstream.engine.infllm`; this file selects blocks under them.
"""

from typing import TYPE_CHECKING

from pydantic import Field

from memory.errors import PolicyError
from memory.policies.policy import (
    Card,
    Encoding,
    InfllmRule,
    MemoryPolicy,
    ModelShape,
    Past,
    PolicySettings,
)

if TYPE_CHECKING:
    from torch import Tensor


class InfllmSettings(PolicySettings):
    """Unset values default to the model's own recommendation."""

    window_frames: int | None = Field(
        None, ge=1, description="Local window of frames and questions, in frames."
    )
    retrieve_blocks: int | None = Field(
        None, ge=1, description="Older blocks that a new block and a question retrieve, per layer."
    )
    representatives: int = Field(
        4, ge=1, description="Tokens that stand for a block: those looked at most."
    )


class Infllm(MemoryPolicy):
    """Matches the official code's outputs exactly. One rotary axis only."""

    name = "infllm"
    card = Card(
        paper="InfLLM (Xiao et al., NeurIPS 2024), arXiv 2402.04617",
        keeps="every block; a new block, and a question, reads the local window and in each layer "
        "the blocks whose most looked-at tokens are most like it",
        differs="blocks are frames, the first tokens the prompt's prefix; a question retrieves "
        "once for its answer; of blocks thinned out by a budget some are found by their mean key; "
        "a crash costs what the last 16 blocks looked at; ingest takes 1.6 times the CPU time of "
        "default",
    )
    Settings = InfllmSettings
    settings: InfllmSettings
    changes_store = True
    follows_times = False

    def __init__(self, shape: ModelShape, settings: PolicySettings) -> None:
        super().__init__(shape, settings)
        if shape.rotary_axes != 1:
            raise PolicyError(
                "policy infllm: its rules are for one rotary axis, the model has "
                f"{shape.rotary_axes}"
            )
        self._block_tokens = shape.block_tokens()

    def encoding(self) -> Encoding:
        blocks = self.recent_blocks()
        tokens = blocks * self._block_tokens
        rule = InfllmRule(tokens, self.retrieve_blocks(), self.settings.representatives)
        return Encoding(blocks, 1, chunk_blocks=blocks, infllm=rule)

    def recent_blocks(self) -> int:
        return self.shape.blocks(self.settings.window_frames or self.shape.window_frames)

    def retrieve_blocks(self) -> int:
        return self.settings.retrieve_blocks or self.shape.retrieve_blocks

    def select(self, layer: int, query: "Tensor", past: Past) -> list[int]:
        return past.search_by_head(layer, query, self.retrieve_blocks())

    def noted_bytes(self, frames: int, token_bytes: int, float_bytes: int) -> int:
        """Return the bytes of the head vectors, which ride in later blocks' heads."""
        return frames // self.shape.frames_per_block * self.shape.head_vector_bytes
