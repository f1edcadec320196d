"""rekv: ReKV as its authors' code computes it.

Source: ReKV (Di et al., ICLR 2025, https://arxiv.org/abs/2503.00540) and its released code. The
attention rules are in `vstream.engine.rekv`; this file selects blocks under them.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

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
from memory.policy_hooks import NewBlock, Query, State, StateChange

if TYPE_CHECKING:
    from torch import Tensor

_PICTURE_BYTES = 24 + 2 * 1152
"""For a vector as long as SigLIP's."""


class RekvSettings(PolicySettings):
    """Unset: a window that holds as many blocks as `default` reads, and the answer."""

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
    retrieval: Literal["internal", "external"] = Field(
        "internal",
        description="By the model's own queries and keys; or external: by vectors of pictures and "
        "of the question's text, where the model's family makes them.",
    )


class Rekv(MemoryPolicy):
    """Matches the official code's outputs exactly on one rotary axis, the only case it has."""

    name = "rekv"
    card = Card(
        paper="ReKV (Di et al., ICLR 2025), arXiv 2503.00540",
        keeps="every block; a first pass of the bare question finds each layer's blocks",
        differs="three rotary axes and blocks of different lengths, which the code does not know, "
        "follow the same rules; ingest takes 1.8 times the CPU time of default",
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
        if self.wants_pictures() and shape.text_vector is None:
            raise PolicyError(
                "policy rekv: retrieval = external: the family of this model makes no vectors of "
                "pictures and text (embed_picture and embed_text)"
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

    def wants_pictures(self) -> bool:
        return bool(self.settings.retrieval == "external")

    def note(self, block: NewBlock, state: State) -> StateChange:
        from memory.picture_notes import note_picture

        return note_picture(block, state)

    def select_by_words(self, query: Query, ids: Sequence[int], state: State) -> list[int] | None:
        """Select by the cosine of picture and text: section 3.2, external retrieval."""
        if self.shape.text_vector is None or not self.wants_pictures():
            return None
        import torch

        from memory.best_blocks import places_of_best
        from memory.picture_notes import picture_scores

        text = self.shape.text_vector(query.text).float().cpu().numpy()
        scores = picture_scores(ids, text, state)
        if scores is None:
            raise PolicyError(
                "policy rekv: retrieval = external: the stream was written without the vectors of "
                "its pictures: ask with retrieval=internal"
            )
        most, runs_of = self.retrieve_blocks(), self.settings.retrieve_runs_of
        return [ids[at] for at in places_of_best(torch.from_numpy(scores), most, runs_of)]

    def forgotten(self, state: State, from_s: float, to_s: float) -> StateChange:
        from memory.picture_notes import without_pictures

        return without_pictures(state, from_s, to_s)

    def noted_bytes(self, frames: int, token_bytes: int, float_bytes: int) -> int:
        blocks = frames // self.shape.frames_per_block
        return blocks * _PICTURE_BYTES if self.wants_pictures() else 0

    def provenance(self) -> str:
        """Return the window, counted in tokens; the settings too if it notes pictures."""
        return super().provenance() if self.wants_pictures() else str(self.encoding())

    def _context_blocks(self) -> int:
        return Default(self.shape, DefaultSettings()).context_blocks()
