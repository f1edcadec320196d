"""Retrieval: a question's own queries choose the blocks it will read, layer by layer.

Source: ReKV (https://arxiv.org/abs/2503.00540, section 3.2, internal retrieval).

    q_bar      = mean over the question's own tokens of the queries, before RoPE,
                 summed over the heads that share a key head
    k_bar[b]   = mean over the tokens of block b of the keys, before RoPE
    score[b]   = <q_bar, k_bar[b]>           (or the cosine of the two)

Differs from the authors' code: one pass, in which every layer first retrieves and then lets the
whole prompt attend (theirs takes two); the mean leaves template and dialogue out; the newest blocks
are always in the context and so are not candidates. With `retrieval="global"` a first pass over
prefix and recent window collects the queries of all layers, and the blocks with the highest cosine
averaged over the layers serve every layer.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from memory import MemoryReader, Similarity
from vstream.engine.config import EngineSettings


@dataclass(frozen=True)
class MemoryView:
    """The blocks that a question may see, fixed when it is asked, in stream order."""

    ids: Sequence[int]
    num_recent: int
    """So many of them, the newest ones, are the recent window."""

    @property
    def recent_ids(self) -> list[int]:
        return list(self.ids[len(self.ids) - self.num_recent :])

    @property
    def older_ids(self) -> Sequence[int]:
        return self.ids[: len(self.ids) - self.num_recent]

    @property
    def first(self) -> int:
        """The oldest id."""
        return self.ids[0] if self.ids else 0

    @property
    def older_end(self) -> int:
        """Larger than every older id and no larger than every recent one."""
        num_older = len(self.ids) - self.num_recent
        return self.ids[num_older - 1] + 1 if num_older else 0


def view_at(
    memory: MemoryReader, at_s: float | None, recent_blocks: int, from_s: float | None = None
) -> MemoryView:
    """What a question at stream time `at_s` sees of `memory` (None: everything there is now).

    With `from_s` it sees nothing from before that.
    """
    ids = memory.visible(at_s, from_s)
    return MemoryView(ids, min(recent_blocks, len(ids)))


class Retriever:
    """Scores the blocks of one view of a memory."""

    def __init__(self, memory: MemoryReader, view: MemoryView, settings: EngineSettings) -> None:
        self._memory = memory
        self._view = view
        self._settings = settings

    def retrieve(self, layer: int, query: Float[Tensor, " key_width"]) -> list[int]:
        """The best blocks for `layer` outside the recent window, in stream order."""
        settings = self._settings
        return self._best(
            [layer], query[None], settings.similarity, chunk_blocks=settings.retrieve_runs_of
        )

    def mean_cosines(
        self, queries: Sequence[Tensor], block_ids: Sequence[int]
    ) -> Float[Tensor, " blocks"]:
        """Cosine of the question and each of these blocks, averaged over all layers."""
        return self._memory.cosines(torch.stack(list(queries)), block_ids).mean(dim=0)

    def best_for_all_layers(self, queries: Sequence[Tensor]) -> list[int]:
        """One set of blocks outside the recent window for every layer, in stream order."""
        return self._best(range(len(queries)), torch.stack(list(queries)), "cosine")

    def _best(
        self,
        layers: Sequence[int],
        queries: Float[Tensor, "layers key_width"],
        similarity: Similarity,
        chunk_blocks: int = 1,
    ) -> list[int]:
        return self._memory.search(
            layers,
            queries,
            first=self._view.first,
            below=self._view.older_end,
            top_k=self._settings.retrieve_blocks,
            similarity=similarity,
            chunk_blocks=chunk_blocks,
        )


def mean_query(
    queries: Float[Tensor, "heads tokens head_dim"],
    is_question: Bool[Tensor, " tokens"],
    kv_heads: int,
) -> Float[Tensor, " key_width"]:
    """The mean over the question's own tokens, summed over the heads that share a key head."""
    return summed_by_group(queries[:, is_question].float().mean(dim=1), kv_heads)


def summed_by_group(
    mean: Float[Tensor, "heads head_dim"], kv_heads: int
) -> Float[Tensor, " key_width"]:
    """The score of a sum is the sum of the scores, so the index need not know of the heads."""
    return mean.view(kv_heads, -1, mean.shape[-1]).sum(dim=1).flatten()
