"""MomentIndex: representative keys of a whole memory in; for a query, the blocks most like it out.

Where BlockIndex serves one layer at a time for an answer, this one serves a search over all of the
past: one vector a block, so that one product ranks it. The vector is the block's representative
keys of some layers, each of length 1, one after the other, divided by the root of their number. A
query is made likewise, so the inner product is the cosine averaged over those layers.

The search is exact: a FAISS IndexFlatIP under an IndexIDMap2, the ids being block ids.
docs/search.md has why no coarse stage (IVF, HNSW) stands before it.
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
"""So many are copied at a time when an index is filled."""
_MIN_NORM = 1e-12


@dataclass(frozen=True)
class Hit:
    """A block that was found; `score` is its mean cosine with the query, in [-1, 1]."""

    block_id: int
    score: float


class MomentIndex:
    """An index over one memory in host RAM. Calls are serialised by the caller, as a memory's."""

    def __init__(self, layers: Sequence[int], features: int) -> None:
        """`layers` are the layers that count; `features` is kv_heads * head_dim of one of them.

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
        """Hold just the blocks that can be read of `reader`, which is always the same one.

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
        """The `top` blocks most like `query`, best first; fewer if there are not so many.

        `query` has a row for each of the index's layers. Only blocks with `first` <= id < `below`
        count.
        """
        end = self._ids[-1] + 1 if self._ids else 0
        below = end if below is None else min(below, end)
        count = min(top, len(self._ids))
        if count <= 0 or first >= below:
            return []
        # FAISS keeps no reference to the selector, so it must have a name here.
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
    """FAISS brings an OpenMP of its own beside torch's: two sets of threads on the same cores.

    The number is one of the calling thread, so it is set before each call. docs/search.md has what
    a second thread costs where the cores are busy.
    """
    faiss.omp_set_num_threads(1)
