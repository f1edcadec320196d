"""default: a question reads the newest blocks and, per layer, the past blocks most like it.

Source: ReKV (Di et al., ICLR 2025, https://arxiv.org/abs/2503.00540), section 3.2, internal
retrieval:

    score[b] = <q_bar, k_bar[b]>           (or the cosine of the two)

with the mean query of the question's own words and the mean key of block b, both before RoPE.
"""

from typing import TYPE_CHECKING, Literal, Self

from pydantic import Field, model_validator

from memory.errors import PolicyError
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
from memory.policy_hooks import Reducer

if TYPE_CHECKING:
    from torch import Tensor


class DefaultSettings(PolicySettings):
    """Unset values default to the model's own recommendation."""

    window_frames: int | None = Field(
        None, ge=0, description="Local window of the prefill, in frames; 0: everything before."
    )
    window_stride: int | None = Field(
        None, ge=1, description="The window's left edge moves in steps of this many frames."
    )
    recent_frames: int | None = Field(
        None, ge=0, description="Newest frames that every question sees, in frames."
    )
    retrieve_blocks: int | None = Field(
        None, ge=0, description="Older blocks that a question retrieves, per layer."
    )
    similarity: Similarity | None = Field(
        None, description="Score of a block: mean query times representative key."
    )
    retrieval: Literal["per_layer", "global", "two_pass"] = Field(
        "per_layer",
        description="Each layer retrieves its own blocks; or all layers the same; or per layer by "
        "a first pass of the bare question.",
    )
    retrieve_runs_of: int = Field(
        1, ge=1, description="Blocks are retrieved in runs of this many neighbours."
    )
    drop_similarity: float | None = Field(
        None,
        gt=0,
        le=1,
        description="Drop a visual token more like (cosine) the one last kept at its place, before "
        "the decoder; one block in every recent window stays whole. Unset or 1: keep all.",
    )

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if self.retrieval == "global" and self.retrieve_runs_of > 1:
            raise ValueError("retrieve_runs_of: runs are for retrieval by layer, not for global")
        return self


class Default(MemoryPolicy):
    """Unlike ReKV, it retrieves and answers in one pass and always reads the newest blocks."""

    name = "default"
    card = Card(
        paper="ReKV (Di et al., ICLR 2025), arXiv 2503.00540",
        keeps="every block; a question reads the newest and, in each layer, those most like it",
        differs="one pass; the newest blocks are always read; the window moves in steps",
    )
    Settings = DefaultSettings
    settings: DefaultSettings

    def __init__(self, shape: ModelShape, settings: PolicySettings) -> None:
        super().__init__(shape, settings)
        where, runs_of = f"policy {self.name}", self.settings.retrieve_runs_of
        if not self.context_blocks():
            raise PolicyError(
                f"{where}: recent_frames and retrieve_blocks: a question must see something"
            )
        if self.retrieve_blocks() and runs_of > self.retrieve_blocks():
            raise PolicyError(
                f"{where}: runs of {runs_of} do not fit into "
                f"retrieve_blocks = {self.retrieve_blocks()}"
            )

    def encoding(self) -> Encoding:
        shape, settings = self.shape, self.settings
        window = shape.blocks(_given(settings.window_frames, shape.window_frames))
        stride = shape.blocks(_given(settings.window_stride, shape.window_stride))
        return Encoding(
            window,
            min(stride, window) if window else 1,
            drop_similarity=settings.drop_similarity,
            whole_every=0 if settings.drop_similarity is None else self.recent_blocks(),
        )

    def reducer(self) -> Reducer | None:
        if self.settings.drop_similarity is None:
            return None
        from memory.token_drop import TokenDropper

        return TokenDropper(self.settings.drop_similarity, whole_every=self.recent_blocks())

    def recent_blocks(self) -> int:
        return self.shape.blocks(_given(self.settings.recent_frames, self.shape.recent_frames))

    def retrieve_blocks(self) -> int:
        return _given(self.settings.retrieve_blocks, self.shape.retrieve_blocks)

    def first_pass(self) -> FirstPass:
        passes: dict[str, FirstPass] = {"global": "context", "two_pass": "question"}
        return passes.get(self.settings.retrieval, "none")

    def select(self, layer: int, query: "Tensor", past: Past) -> list[int]:
        if not self.retrieve_blocks():
            return []
        similarity: Similarity = self.settings.similarity or self.shape.similarity
        runs_of = self.settings.retrieve_runs_of
        return past.search([layer], query[None], self.retrieve_blocks(), similarity, runs_of)

    def select_for_all(self, queries: "Tensor", past: Past) -> list[int]:
        return past.search(range(len(queries)), queries, self.retrieve_blocks(), "cosine")

    def context_blocks(self) -> int:
        """Return how many blocks a question reads in all."""
        return self.recent_blocks() + self.retrieve_blocks()


def _given(value: int | None, recommended: int) -> int:
    return recommended if value is None else value
