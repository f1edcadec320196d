"""rekv: ReKV as its authors' code computes it.

Source: ReKV (Di et al., ICLR 2025, https://arxiv.org/abs/2503.00540) and its released code. The
engine has the attention rules in `vstream.engine.rekv`; here is what is chosen under them.
"""

from typing import TYPE_CHECKING

from pydantic import Field

from memory.errors import PolicyError
from memory.policies.default import Default, DefaultSettings
from memory.policies.policy import (
    Card,
    Encoding,
    FirstPass,
    MemoryPolicy,
    ModelShape,
    Past,
    PolicySettings,
    Similarity,
)

if TYPE_CHECKING:
    from torch import Tensor


class RekvSettings(PolicySettings):
    """Unset values: a window that holds as many blocks as default reads, and the answer."""

    window_tokens: int | None = Field(None, ge=1, description="The local window, in tokens.")
    retrieve_blocks: int | None = Field(
        None, ge=1, description="Blocks that a question retrieves, per layer."
    )
    retrieve_runs_of: int = Field(
        1, ge=1, description="Blocks are retrieved in runs of this many neighbours."
    )
    similarity: Similarity | None = Field(
        None, description="Score of a block: mean query times representative key."
    )


class Rekv(MemoryPolicy):
    """Exact on the official code's outputs, which have one rotary axis."""

    name = "rekv"
    card = Card(
        paper="ReKV (Di et al., ICLR 2025), arXiv 2503.00540",
        keeps="every block; a first pass of the bare question finds each layer's blocks",
        differs="three rotary axes and blocks of different lengths, which the code does not know, "
        "follow the same rules",
    )
    Settings = RekvSettings
    settings: RekvSettings
    changes_store = True
    follows_times = False

    def __init__(self, shape: ModelShape, settings: PolicySettings) -> None:
        super().__init__(shape, settings)
        if self.settings.retrieve_runs_of > self.retrieve_blocks():
            raise PolicyError(
                f"policy rekv: runs of {self.settings.retrieve_runs_of} do not fit into "
                f"retrieve_blocks = {self.retrieve_blocks()}"
            )
        self._block_tokens = 0 if self.settings.window_tokens else shape.block_tokens()

    def encoding(self) -> Encoding:
        tokens = self.settings.window_tokens
        if tokens is None:
            tokens = self._block_tokens * self._context_blocks() + self.shape.max_answer_tokens
        return Encoding(self._context_blocks(), 1, rekv_window_tokens=tokens)

    def recent_blocks(self) -> int:
        return 0

    def retrieve_blocks(self) -> int:
        return self.settings.retrieve_blocks or self._context_blocks()

    def first_pass(self) -> FirstPass:
        return "question"

    def select(self, layer: int, query: "Tensor", past: Past) -> list[int]:
        similarity: Similarity = self.settings.similarity or self.shape.similarity
        runs_of = self.settings.retrieve_runs_of
        return past.search([layer], query[None], self.retrieve_blocks(), similarity, runs_of)

    def provenance(self) -> str:
        """The window alone, in tokens: no other policy counts it so."""
        return str(self.encoding())

    def _context_blocks(self) -> int:
        return Default(self.shape, DefaultSettings()).context_blocks()
