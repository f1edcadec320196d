"""HeadVectors: what blocks are found by once they have left the local window, query head by head.

What stands for a block may be known long after it was kept, as in InfLLM (Xiao et al., NeurIPS
2024, https://arxiv.org/abs/2402.04617), section 3.2: there it takes the attention that the block
got until it left. So its vector rides in the head of the block that came as it left: both are kept
together, whenever the process dies, and nothing is written twice. Where that block goes and this
one stays, the vector rides on the next one that comes.
"""

from collections.abc import Collection, Container, Sequence

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor

from memory.block_index import BlockIndex
from memory.block_record import BlockHead


class HeadVectors:
    """Of one stream. Ids rise but for those of vectors that had to ride on a later block."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._index: BlockIndex | None = None
        self._carrier: dict[int, int] = {}
        """Of each block that is there, the one in whose head its vector lies."""
        self.newest = -1
        """The newest block that has left the window so far."""
        self.orphans: dict[int, Float32[np.ndarray, "layers heads*head_dim"]] = {}
        """Vectors that lie in no head any more."""

    def take(self, head: BlockHead, known: Container[int]) -> None:
        """Learn what a new block's head tells of older ones, as far as those are `known`."""
        for block_id, vector in head.head_vectors.items():
            self.orphans.pop(block_id, None)
            if block_id in known:
                if block_id not in self._carrier:
                    self._put(block_id, torch.from_numpy(vector)[None])
                self._carrier[block_id] = head.block_id
            self.newest = max(self.newest, block_id)

    def drop(self, gone: Collection[int]) -> None:
        """These blocks are no longer there."""
        if self._index is None:
            return
        gone = set(gone)
        for block_id in gone & self._carrier.keys():
            del self._carrier[block_id]
            self.orphans.pop(block_id, None)
        lost = [block_id for block_id, carrier in self._carrier.items() if carrier in gone]
        vectors = self._index.keys(lost).transpose(0, 1).numpy()
        self.orphans.update(zip(lost, vectors, strict=True))
        self._index.drop(gone)

    def best(
        self,
        layer: int,
        query: Float[Tensor, " heads*head_dim"],
        first: int,
        below: int,
        count: int,
    ) -> tuple[list[int], Float32[Tensor, " blocks"]]:
        """Of the blocks from `first` to `below` the ids of the `count` best, in stream order, and
        their scores: the inner products with `query`, summed over the heads.
        """
        if self._index is None:
            return [], torch.empty(0)
        ids = self._index.search([layer], query[None], below, count, "inner_product", first=first)
        vectors = self._index.keys(ids, [layer])[0]
        return ids, vectors @ query.float().cpu()

    def vectors(self, block_ids: Sequence[int]) -> Float32[Tensor, "layers blocks heads*head_dim"]:
        """In the order given; blocks that have left the window and are there."""
        assert self._index is not None
        return self._index.keys(block_ids)

    def _put(self, block_id: int, vector: Float32[Tensor, "1 layers heads*head_dim"]) -> None:
        newer, vectors = [block_id], vector
        if self._index is None or block_id < self.newest:  # made anew where others are newer
            if self._index is not None and self._carrier:
                newer = sorted((*self._carrier, block_id))
                at = newer.index(block_id)
                old = self._index.keys(newer[:at] + newer[at + 1 :]).transpose(0, 1)
                vectors = torch.cat([old[:at], vector, old[at:]])
            self._index = BlockIndex(vector.shape[1], vector.shape[2], self._device)
        self._index.extend(newer, vectors)
