"""Retrieval: what a question may read of a memory, and the query that retrieves it.

Source: ReKV (https://arxiv.org/abs/2503.00540, section 3.2, internal retrieval).

    q_bar      = mean over the question's own tokens of the queries, before RoPE,
                 summed over the heads that share a key head
    k_bar[b]   = mean over the tokens of block b of the keys, before RoPE

The memory policy decides which blocks are read (`memory.policies`). Differs from the authors' code:
every layer first retrieves and then lets the whole prompt attend (theirs takes two passes, which a
policy may ask for); the mean leaves out template and dialogue.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, takewhile

from jaxtyping import Bool, Float
from torch import Tensor

from memory import MemoryReader, Similarity


@dataclass(frozen=True)
class MemoryView:
    """The blocks that a question may see, fixed when it is asked, in stream order."""

    ids: Sequence[int]
    num_recent: int
    """How many of the newest ones are the recent window."""

    @property
    def recent_ids(self) -> list[int]:
        return list(self.ids[len(self.ids) - self.num_recent :])

    @property
    def older_ids(self) -> Sequence[int]:
        return self.ids[: len(self.ids) - self.num_recent]


def view_at(
    memory: MemoryReader,
    at_s: float | None,
    recent_blocks: int | None,
    from_s: float | None = None,
    recent_tokens: int | None = None,
) -> MemoryView:
    """Return what a question at stream time `at_s` sees of `memory` (None: all there is now). With
    `from_s` it sees nothing earlier. `recent_blocks` None makes all blocks recent; `recent_tokens`
    makes as few recent as hold that many tokens.
    """
    ids = memory.seen(at_s, from_s)
    if recent_tokens is not None:
        counts = accumulate(memory.info(block_id).num_tokens for block_id in reversed(ids))
        recent_blocks = sum(1 for _ in takewhile(lambda held: held < recent_tokens, counts)) + 1
    return MemoryView(ids, len(ids) if recent_blocks is None else min(recent_blocks, len(ids)))


class Past:
    """The blocks of one view that a policy may choose from: all but the recent window."""

    def __init__(self, memory: MemoryReader, view: MemoryView) -> None:
        self._memory = memory
        self.ids = view.older_ids
        """In stream order."""
        self.recent_ids = view.recent_ids
        self.retrievals: list[tuple[float, float]] = []
        """From when to when blocks were chosen and laid out, in `time.perf_counter` seconds."""

    def search(
        self,
        layers: Sequence[int],
        queries: Float[Tensor, "layers key_width"],
        top_k: int,
        similarity: Similarity,
        chunk_blocks: int = 1,
    ) -> list[int]:
        """Return the ids of the best, in stream order; see `memory.BlockIndex.search`."""
        return self._memory.search(
            layers,
            queries,
            first=self.ids[0] if self.ids else 0,
            below=self.ids[-1] + 1 if self.ids else 0,
            top_k=top_k,
            similarity=similarity,
            chunk_blocks=chunk_blocks,
        )

    def search_by_head(
        self, layer: int, query: Float[Tensor, " heads*head_dim"], top_k: int
    ) -> list[int]:
        """Return the ids of the best by their head vectors; see `memory.head_vectors`."""
        if not self.ids:
            return []
        first, below = self.ids[0], self.ids[-1] + 1
        return self._memory.head_vectors.best(layer, query, first, below, top_k)

    def keys(self, block_ids: Sequence[int]) -> Float[Tensor, "layers blocks key_width"]:
        """Return representative keys, in the order given."""
        return self._memory.representative_keys(block_ids)


def mean_query(
    queries: Float[Tensor, "heads tokens head_dim"],
    is_question: Bool[Tensor, " tokens"],
    kv_heads: int,
) -> Float[Tensor, " key_width"]:
    """Average over the question's own tokens, and sum over the heads that share a key head."""
    return summed_by_group(queries[:, is_question].float().mean(dim=1), kv_heads)


def summed_by_group(
    mean: Float[Tensor, "heads head_dim"], kv_heads: int
) -> Float[Tensor, " key_width"]:
    """Sum each group. A sum's score is the sum of the scores, so the index need not know heads."""
    return mean.view(kv_heads, -1, mean.shape[-1]).sum(dim=1).flatten()
