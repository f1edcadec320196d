"""BlockFacts: what was found out about the blocks of a stream: in host RAM only, gone with them."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32, Int64

MOST_FACTS = 100_000
"""How many facts are kept; those of the block first asked about are evicted first."""
MOST_COMPARED_BYTES = 16 << 20
"""How much is kept of how blocks compare with words: a day at a block a second for seven
statements. What was asked about longest ago is evicted first.
"""
Words = tuple[str, tuple[int, ...]]
"""What the blocks are compared with, and in which layers."""


@dataclass(frozen=True, eq=False)
class Compared:
    """How blocks compare with words, and each with the block before it. They leave out no block
    that is there between the first and the last.
    """

    query: Float32[np.ndarray, "layers kv_heads*head_dim"]
    """What the words look for, in the layers compared."""
    ids: Int64[np.ndarray, " blocks"]
    scores: Float[np.ndarray, " blocks"]
    likeness: Float[np.ndarray, " blocks"]
    """That of the first block counts for nothing."""

    @property
    def num_bytes(self) -> int:
        return sum(one.nbytes for one in (self.query, self.ids, self.scores, self.likeness))

    def followed_by(
        self,
        ids: Int64[np.ndarray, " blocks"],
        scores: Float[np.ndarray, " blocks"],
        likeness: Float[np.ndarray, " blocks"],
    ) -> "Compared":
        if not len(ids):
            return self
        return Compared(
            self.query,
            np.append(self.ids, ids),
            np.append(self.scores, scores),
            np.append(self.likeness, likeness),
        )

    def without(self, first: int, last: int) -> "Compared":
        """Return the longer of the parts before block `first` and after block `last`, copied, so
        that nothing stays of the rest.
        """
        end, begin = np.searchsorted(self.ids, [first, last + 1])
        part = slice(end) if end >= len(self.ids) - begin else slice(begin, None)
        return Compared(
            self.query,
            self.ids[part].copy(),
            self.scores[part].copy(),
            self.likeness[part].copy(),
        )


class BlockFacts:
    """Numbers by block and by what was asked. Its callers hold the device's turn."""

    def __init__(self) -> None:
        self._facts: dict[int, dict[str, float]] = {}
        self._count = 0
        self._compared: dict[Words, Compared] = {}
        self.num_dropped = 0
        """How often blocks have been dropped."""

    def get(self, block_id: int, asked: str) -> float | None:
        return self._facts.get(block_id, {}).get(asked)

    def put(self, block_id: int, asked: str, value: float) -> None:
        """Store a fact about a block, which is there."""
        known = self._facts.setdefault(block_id, {})
        self._count += asked not in known
        known[asked] = value
        while self._count > MOST_FACTS:
            self._forget([next(iter(self._facts))])

    def compared(self, words: Words) -> Compared | None:
        """May be called by any thread."""
        return self._compared.get(words)

    def put_compared(self, words: Words, compared: Compared) -> None:
        """Store it in place of what is known of these words. The blocks are there and unchanged."""
        self._compared.pop(words, None)
        self._compared[words] = compared
        while sum(one.num_bytes for one in self._compared.values()) > MOST_COMPARED_BYTES:
            del self._compared[next(iter(self._compared))]

    def drop(self, block_ids: Collection[int]) -> None:
        """Forget these blocks, which are gone or have changed."""
        self._forget(block_ids)
        if block_ids:
            first, last = min(block_ids), max(block_ids)
            left = {words: one.without(first, last) for words, one in self._compared.items()}
            self._compared = {words: one for words, one in left.items() if len(one.ids)}
            self.num_dropped += 1

    def _forget(self, block_ids: Iterable[int]) -> None:
        for block_id in block_ids:
            self._count -= len(self._facts.pop(block_id, ()))

    def __len__(self) -> int:
        return self._count
