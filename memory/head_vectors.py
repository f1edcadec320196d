"""HeadVectors: one index vector per query head, for blocks that have left the local window.

A block's vector may only be known long after the block was kept. In InfLLM (Xiao et al., NeurIPS
2024, https://arxiv.org/abs/2402.04617), section 3.2, it depends on the attention the block got
until it left the window. So the vector is stored in the head of the block that arrived as it left:
both are kept or lost together, and nothing is written twice. If the later block is evicted and the
earlier one stays, that one is found by its mean key.
"""

from bisect import bisect_right
from collections.abc import Collection, Sequence

import torch
from jaxtyping import Float, Float32
from torch import Tensor

from memory.block_index import BlockIndex
from memory.block_record import BlockHead

_FEW_BLOCKS = 1024
"""Up to this many blocks, all are compared with several queries at once."""


class HeadVectors:
    """Index of one stream's blocks up to `newest`, those that have left the window."""

    def __init__(
        self,
        means: BlockIndex,
        kv_heads: int,
        device: torch.device,
        device_bytes: int | None = None,
    ) -> None:
        """`means` holds the mean keys of all blocks; `device_bytes` as in BlockIndex."""
        self._means, self._kv_heads = means, kv_heads
        self._device, self._device_bytes = device, device_bytes
        self._index: BlockIndex | None = None
        self._carrier: dict[int, int] = {}
        """For each block, evicted or not, the block whose head holds its vector."""
        self.newest = -1

    def take(self, head: BlockHead, known: Sequence[int]) -> None:
        """Take earlier blocks' vectors from a new block's head; `known`: the kept ids, sorted."""
        vectors = head.left
        if self._index is None:
            layers, features = next(iter(vectors.values())).shape
            self._index = BlockIndex(layers, features, self._device, self._device_bytes)
        newest = max(head.left)
        for block_id in known[bisect_right(known, self.newest) : bisect_right(known, newest)]:
            vector = vectors.get(block_id)
            found = self._mean(block_id) if vector is None else torch.from_numpy(vector)
            self._index.extend([block_id], found[None])
        self._carrier.update(dict.fromkeys(head.left, head.block_id))
        self.newest = newest

    def drop(self, gone: Collection[int], known: Collection[int]) -> None:
        """Remove blocks that are gone; `known` are still kept. If the newest blocks go, earlier
        ones are back in the window.
        """
        if self._index is None:
            return
        lost = [block_id for block_id, carrier in self._carrier.items() if carrier in gone]
        for block_id in lost:
            del self._carrier[block_id]
        before, self.newest = self.newest, max(self._carrier, default=-1)
        self._index.drop({*gone, *range(self.newest + 1, before + 1)})
        for block_id in lost:
            if block_id in known and block_id <= self.newest:
                self._index.replace(block_id, self._mean(block_id))

    def best(
        self,
        layer: int,
        query: Float[Tensor, " heads*head_dim"],
        first: int,
        below: int,
        count: int,
    ) -> list[int]:
        """Return the `count` blocks in [first, below) with the largest inner product with `query`,
        summed over the heads, in stream order.
        """
        if self._index is None:
            return []
        return self._index.search([layer], query[None], below, count, "inner_product", first=first)

    def candidates(
        self,
        layer: int,
        queries: Float[Tensor, "queries heads*head_dim"],
        below: int,
        count: int,
    ) -> tuple[list[int], Float32[Tensor, "queries blocks"]]:
        """Return ids below `below` that include the `count` best for each query, and the inner
        products of all of them with all queries.
        """
        if self._index is None:
            return [], torch.empty(len(queries), 0)
        few = self._index.num_blocks <= _FEW_BLOCKS
        count, by = (_FEW_BLOCKS, queries[:1]) if few else (count, queries)
        found = {i for query in by for i in self.best(layer, query, 0, below, count)}
        ids = sorted(found)
        return ids, queries.float().cpu() @ self._index.keys(ids, [layer])[0].T

    def vectors(self, block_ids: Sequence[int]) -> Float32[Tensor, "layers blocks heads*head_dim"]:
        """Return vectors in the order given, of kept blocks that have left the window."""
        assert self._index is not None
        return self._index.keys(block_ids)

    def _mean(self, block_id: int) -> Float32[Tensor, "layers heads*head_dim"]:
        """Return a block's mean key, repeated for the heads that share it."""
        assert self._index is not None
        mean = self._means.keys([block_id])[:, 0].unflatten(1, (self._kv_heads, -1))
        group = self._index.features // mean[0].numel()
        by_head: Tensor = mean.repeat_interleave(group, dim=1)
        return by_head.flatten(1)
