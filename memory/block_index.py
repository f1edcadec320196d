"""BlockIndex: representative keys of all blocks in; for a query, the ids of the best blocks out.

Source: ReKV (Di et al., ICLR 2025), section 3.2. A block's representative key is the mean of its
keys before RoPE over its tokens, all heads concatenated; a question's query is the mean of its
queries before RoPE over its tokens; the blocks of highest similarity are retrieved, for each layer
by itself, and stay in stream order.

Differs from the paper: ReKV repeats the keys for every query head. With grouped-query attention the
inner product is the same if instead the mean query is summed over the query heads that share a key
head; the index is then smaller by the size of the group. So the caller passes the group-summed mean
query. (Its cosine differs from the one over all query heads by a factor that is equal for all
blocks.) The paper speaks of cosine similarity, the authors' code computes the inner product: both
are here, under their own names.
"""

from bisect import bisect_left
from collections.abc import Collection, Sequence
from typing import Literal

import torch
from jaxtyping import Float, Float32
from torch import Tensor

Similarity = Literal["inner_product", "cosine"]

_MIN_CAPACITY = 64
_MIN_NORM = 1e-12


class BlockIndex:
    """Exact search over float32 representative keys on one device, for each layer.

    Rows lie in the order of block ids, which rise; ids of blocks that were dropped are missing.
    """

    def __init__(self, layers: int, features: int, device: torch.device) -> None:
        """`features` is kv_heads * head_dim."""
        self._ids: list[int] = []
        self._buffer = torch.empty(layers, 0, features, dtype=torch.float32, device=device)
        self._norms = torch.empty(layers, 0, dtype=torch.float32, device=device)

    @property
    def num_bytes(self) -> int:
        return self._buffer.nbytes + self._norms.nbytes

    def append(
        self, block_id: int, representative_keys: Float[Tensor, "layers kv_heads*head_dim"]
    ) -> None:
        """Add a block's keys, averaged over its tokens, as they were before the codec."""
        assert not self._ids or block_id > self._ids[-1]
        place = len(self._ids)
        if place == self._buffer.shape[1]:
            self._move_to_room(slice(0, place))
        self._buffer[:, place] = representative_keys
        self._norms[:, place] = self._buffer[:, place].norm(dim=1)
        self._ids.append(block_id)

    def drop(self, block_ids: Collection[int]) -> None:
        """Forget these blocks and give their room back."""
        gone = set(block_ids)
        rows = [row for row, block_id in enumerate(self._ids) if block_id not in gone]
        self._ids = [self._ids[row] for row in rows]
        self._move_to_room(torch.tensor(rows, dtype=torch.int64, device=self._buffer.device))

    def keys(self, block_ids: Sequence[int]) -> Float32[Tensor, "layers blocks kv_heads*head_dim"]:
        """The representative keys of some blocks, none of them dropped, in the order given."""
        return self._buffer[:, self._rows(block_ids)]

    def scores(
        self,
        layer: int,
        query: Float[Tensor, " kv_heads*head_dim"],
        below: int,
        similarity: Similarity,
        first: int = 0,
    ) -> Float32[Tensor, " blocks"]:
        """How well each block with an id from `first` to `below` fits the query, in their order.

        Blocks appended after the bound was taken are not looked at.
        """
        return self._scores_of(layer, self._run(first, below), query, similarity)

    def cosines(
        self, layer: int, query: Float[Tensor, " kv_heads*head_dim"], block_ids: Sequence[int]
    ) -> Float32[Tensor, " blocks"]:
        """The cosine of some blocks alone, in the order given; none of them may be dropped."""
        return self._scores_of(layer, self._rows(block_ids), query, "cosine")

    def _rows(self, block_ids: Sequence[int]) -> Tensor:
        rows = [bisect_left(self._ids, block_id) for block_id in block_ids]
        assert all(
            self._ids[row] == block_id for row, block_id in zip(rows, block_ids, strict=True)
        )
        return torch.tensor(rows, dtype=torch.int64, device=self._buffer.device)

    def _scores_of(
        self, layer: int, rows: slice | Tensor, query: Tensor, similarity: Similarity
    ) -> Tensor:
        keys = self._buffer[layer, rows]
        query = query.to(keys)
        products = torch.mv(keys, query)
        if similarity == "cosine":
            products /= (self._norms[layer, rows] * query.norm()).clamp_min(_MIN_NORM)
        return products

    def search(
        self,
        layer: int,
        query: Float[Tensor, " kv_heads*head_dim"],
        below: int,
        top_k: int,
        similarity: Similarity,
        chunk_blocks: int = 1,
        first: int = 0,
    ) -> list[int]:
        """Ids of the best blocks from `first` to `below`, in stream order; all if <= `top_k`.

        With `chunk_blocks` > 1 blocks are taken in runs of that many neighbours, counted from the
        oldest, by their average score: `top_k // chunk_blocks` runs, where a shorter last run is
        averaged over what it has.
        """
        ids = self._ids[self._run(first, below)]
        if len(ids) <= top_k:
            return ids
        scores = self.scores(layer, query, below, similarity, first)
        if chunk_blocks == 1:
            best = scores.topk(top_k).indices.sort().values
            return [ids[row] for row in best.tolist()]
        runs = _run_means(scores, chunk_blocks)
        best = runs.topk(top_k // chunk_blocks).indices.sort().values
        return [
            block_id
            for run in best.tolist()
            for block_id in ids[run * chunk_blocks : (run + 1) * chunk_blocks]
        ]

    def _run(self, first: int, below: int) -> slice:
        return slice(bisect_left(self._ids, first), bisect_left(self._ids, below))

    def _move_to_room(self, rows: slice | Tensor) -> None:
        """Twice the room that these rows need, so that appending stays cheap."""
        kept, norms = self._buffer[:, rows], self._norms[:, rows]
        layers, num_kept, features = kept.shape
        with torch.inference_mode(False):  # or the next append could not write into it outside
            capacity = max(_MIN_CAPACITY, 2 * num_kept)
            self._buffer = kept.new_empty(layers, capacity, features)
            self._norms = norms.new_empty(layers, capacity)
        self._buffer[:, :num_kept] = kept
        self._norms[:, :num_kept] = norms


def _run_means(scores: Tensor, chunk_blocks: int) -> Tensor:
    whole = len(scores) // chunk_blocks * chunk_blocks
    means = scores[:whole].view(-1, chunk_blocks).mean(dim=1)
    if whole == len(scores):
        return means
    return torch.cat((means, scores[whole:].mean(dim=0, keepdim=True)))
