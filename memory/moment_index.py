"""MomentIndex: searches all of a memory's representative keys for the blocks most like a query.

BlockIndex serves one layer at a time for an answer; this index serves a search over the whole past.
It has one vector per block, so one product ranks it: the block's representative keys of some
layers, each normalised to length 1, concatenated, divided by the root of their number. A query is
built the same way, so the inner product is the cosine averaged over those layers.

The search is exact: a FAISS IndexFlatIP in an IndexIDMap2 whose ids are block ids. docs/search.md
says why it has no coarse stage (IVF, HNSW).
"""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

import faiss
import numpy as np
from jaxtyping import Float, Float32, Int64
from torch import Tensor

from memory.memory_reader import MemoryReader

_BATCH_BLOCKS = 4096
"""How many are copied at a time to fill an index."""
_MIN_NORM = 1e-12


@dataclass(frozen=True)
class Hit:
    """A found block; `score` is its mean cosine with the query, in [-1, 1]."""

    block_id: int
    score: float


class MomentIndex:
    """An index over one memory, in host RAM. Callers serialise calls, as for a memory."""

    def __init__(self, layers: Sequence[int], features: int) -> None:
        """`layers` are the layers to compare; `features` is kv_heads * head_dim of one of them.

        Raises ValueError without a layer.
        """
        if not layers:
            raise ValueError("a moment index needs at least one layer")
        self._layers = list(layers)
        self._features = features
        self._ids: list[int] = []
        self._index = faiss.IndexIDMap2(faiss.IndexFlatIP(len(layers) * features))

    @property
    def num_blocks(self) -> int:
        return len(self._ids)

    @property
    def num_bytes(self) -> int:
        """Host RAM of the vectors."""
        return 4 * len(self._ids) * len(self._layers) * self._features

    def update(self, reader: MemoryReader) -> None:
        """Index exactly the readable blocks of `reader`, which must always be the same one.

        Costs the new blocks, and one pass over the vectors if any block has gone.
        """
        now = reader.visible(None)
        new = now[bisect_right(now, self._ids[-1]) if self._ids else 0 :]
        if len(now) - len(new) < len(self._ids):
            _use_one_thread()
            self._index.remove_ids(_int64(sorted(set(self._ids).difference(now))))
        for start in range(0, len(new), _BATCH_BLOCKS):
            ids = new[start : start + _BATCH_BLOCKS]
            keys = reader.representative_keys(ids)[self._layers].cpu()
            _use_one_thread()
            self._index.add_with_ids(_vectors(keys), _int64(ids))
        self._ids = now

    def search(
        self,
        query: Float[Tensor, "layers kv_heads*head_dim"],
        top: int,
        first: int = 0,
        below: int | None = None,
    ) -> list[Hit]:
        """Return the `top` blocks most like `query`, best first, or all if there are fewer.

        `query` has one row per layer of the index. Considers only blocks with `first` <= id <
        `below`.
        """
        end = self._ids[-1] + 1 if self._ids else 0
        below = end if below is None else min(below, end)
        count = min(top, len(self._ids))
        if count <= 0 or first >= below:
            return []
        # FAISS keeps no reference to the selector, so a variable must.
        selector = faiss.IDSelectorRange(first, below)
        everything = first <= self._ids[0] and below == end
        parameters = None if everything else faiss.SearchParameters(sel=selector)
        _use_one_thread()
        vector = _vectors(query[:, None].float().cpu())
        scores, ids = self._index.search(vector, count, params=parameters)
        found = zip(ids[0].tolist(), scores[0].tolist(), strict=True)
        hits = [Hit(block_id, score) for block_id, score in found if block_id >= 0]
        return sorted(hits, key=lambda hit: (-hit.score, hit.block_id))


def _vectors(
    keys: Float32[Tensor, "layers blocks features"],
) -> Float32[np.ndarray, "blocks layers*features"]:
    lengths = keys.norm(dim=2, keepdim=True).clamp_min(_MIN_NORM)
    unit = keys / (lengths * len(keys) ** 0.5)
    return np.ascontiguousarray(unit.transpose(0, 1).flatten(1).numpy())


def _int64(ids: Sequence[int]) -> Int64[np.ndarray, " blocks"]:
    return np.asarray(ids, dtype=np.int64)


def _use_one_thread() -> None:
    """Make FAISS use one thread: its own OpenMP would compete with torch's for the cores.

    The setting belongs to the calling thread, so it is made before each call. docs/search.md has
    what a second thread costs on busy cores.
    """
    faiss.omp_set_num_threads(1)
