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

from collections.abc import Sequence
from math import inf
from typing import Literal

import torch
from jaxtyping import Float, Float32
from torch import Tensor

Similarity = Literal["inner_product", "cosine"]

_MIN_CAPACITY = 64
_MIN_NORM = 1e-12


class BlockIndex:
    """Exact search over float32 representative keys on one device, for each layer."""

    def __init__(self, layers: int, features: int, device: torch.device) -> None:
        """`features` is kv_heads * head_dim."""
        self.num_blocks = 0
        """Blocks appended so far, dropped ones included."""
        self.first_block = 0
        """Blocks below it were dropped."""
        self._buffer = torch.empty(layers, 0, features, device=device)
        self._norms = torch.empty(layers, 0, device=device)
        self._buffer_first = 0

    @property
    def num_bytes(self) -> int:
        return self._buffer.nbytes + self._norms.nbytes

    def append(self, representative_keys: Float[Tensor, "layers kv_heads*head_dim"]) -> None:
        """Add a block's keys, averaged over its tokens, as they were before the codec."""
        if self.num_blocks - self._buffer_first == self._buffer.shape[1]:
            self._make_room()
        place = self.num_blocks - self._buffer_first
        self._buffer[:, place] = representative_keys
        self._norms[:, place] = self._buffer[:, place].norm(dim=1)
        self.num_blocks += 1

    def drop_before(self, block_id: int) -> None:
        """Forget the blocks below `block_id`; their room is used again at the next growth."""
        assert self.first_block <= block_id <= self.num_blocks
        self.first_block = block_id

    def scores(
        self,
        layer: int,
        query: Float[Tensor, " kv_heads*head_dim"],
        num_blocks: int,
        similarity: Similarity,
    ) -> Float32[Tensor, " blocks"]:
        """How well each block below `num_blocks` fits the query; -inf for dropped ones.

        Blocks appended after a snapshot of `num_blocks` was taken are not looked at.
        """
        scores = self._buffer.new_full((num_blocks,), -inf)
        first = self.first_block
        if first < num_blocks:
            rows = slice(first - self._buffer_first, num_blocks - self._buffer_first)
            scores[first:] = self._scores_of(layer, rows, query, similarity)
        return scores

    def cosines(
        self, layer: int, query: Float[Tensor, " kv_heads*head_dim"], block_ids: Sequence[int]
    ) -> Float32[Tensor, " blocks"]:
        """The cosine of some blocks alone, in the order given; none of them may be dropped."""
        assert all(self.first_block <= block_id < self.num_blocks for block_id in block_ids)
        rows = torch.tensor(block_ids, device=self._buffer.device) - self._buffer_first
        return self._scores_of(layer, rows, query, "cosine")

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
        num_blocks: int,
        top_k: int,
        similarity: Similarity,
        chunk_blocks: int = 1,
    ) -> list[int]:
        """Ids of the best blocks below `num_blocks`, in stream order; all if there are <= `top_k`.

        With `chunk_blocks` > 1 blocks are taken in runs of that many neighbours, counted from
        `first_block`, by their average score: `top_k // chunk_blocks` runs, where a shorter last
        run is averaged over what it has.
        """
        first = self.first_block
        if num_blocks - first <= top_k:
            return list(range(first, num_blocks))
        scores = self.scores(layer, query, num_blocks, similarity)[first:]
        if chunk_blocks == 1:
            best = scores.topk(top_k).indices.sort().values
            return [first + block for block in best.tolist()]
        runs = _run_means(scores, chunk_blocks)
        best = runs.topk(top_k // chunk_blocks).indices.sort().values
        return [
            block
            for run in best.tolist()
            for block in range(
                first + run * chunk_blocks,
                min(first + (run + 1) * chunk_blocks, num_blocks),
            )
        ]

    def _make_room(self) -> None:
        """Twice the room that the blocks not dropped need, so that appending stays cheap."""
        live = self._buffer[:, self.first_block - self._buffer_first :]
        layers, num_live, features = live.shape
        with torch.inference_mode(False):  # or the next append could not write into it outside
            capacity = max(_MIN_CAPACITY, 2 * num_live)
            buffer = live.new_empty(layers, capacity, features)
            norms = live.new_empty(layers, capacity)
        buffer[:, :num_live] = live
        norms[:, :num_live] = self._norms[:, self.first_block - self._buffer_first :]
        self._buffer, self._norms = buffer, norms
        self._buffer_first = self.first_block


def _run_means(scores: Tensor, chunk_blocks: int) -> Tensor:
    whole = len(scores) // chunk_blocks * chunk_blocks
    means = scores[:whole].view(-1, chunk_blocks).mean(dim=1)
    if whole == len(scores):
        return means
    return torch.cat((means, scores[whole:].mean(dim=0, keepdim=True)))
