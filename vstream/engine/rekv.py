"""ReKV's own attention rules, so that its results can be reproduced and compared.

Source: ReKV (https://arxiv.org/abs/2503.00540), as its released code computes it:
- prefill: a sliding window of `n_local` tokens at true distances. Every query of a block attends,
  at the one distance n_local - 1, to the attention sinks ("init" tokens) that have left the window
  of its newest token. For a block or two they are still in the window of the block's first queries
  as well and count twice there;
- answer: [sinks | retrieved blocks | prompt] at contiguous positions, recent blocks being
  candidates like all others; past `n_local` tokens the same window and one distance apply.
The memory policy `rekv` uses it.

Differs: the code knows one rotary axis and blocks of one length. With three axes (M-RoPE) the
window is still counted in tokens, its blocks stand where the family lays them, and on each axis the
sinks are as far away as the farthest token of the window: n_local - 1 if there is one axis.

Both rules need two rotations of a query under one softmax: the rotations lie side by side in the
head dimension, and each key is zero in the half that is not meant for it.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from encoders import TextTokens
from memory import MemoryReader
from memory.policy_hooks import Tokens
from vstream.engine.answer_context import AnswerContext
from vstream.engine.decoder import Decoder, grouped_attention
from vstream.engine.passes import Work
from vstream.engine.positions import Placed, Rope, lay_out, text_positions
from vstream.engine.prefill import Encoded, LayerKV, WritePath, pass_of, split_by_block

_Laid = tuple[Int[Tensor, "axes tokens"], Int[Tensor, " axes"]]
"""Positions of the local tokens, and where the next block starts."""


class _Near(NamedTuple):
    """What is seen at true distances; queries and keys are rotated."""

    queries: Float[Tensor, "heads q_tokens head_dim"]
    keys: Float[Tensor, "kv_heads k_tokens head_dim"]
    values: Float[Tensor, "kv_heads k_tokens head_dim"]
    positions: Int[Tensor, "axes k_tokens"]


class RekvPrefill(WritePath):
    """The write path of one stream by ReKV's window; stands in for `Prefill`."""

    def __init__(self, decoder: Decoder, prefix: TextTokens, n_local: int) -> None:
        self._decoder = decoder
        self.rope = decoder.rope
        self.n_local = n_local
        self.num_tokens = 0
        self.local: LayerKV = []
        self.prefix: LayerKV = []
        whole = text_positions(0, len(prefix.embeddings), decoder.num_axes, decoder.device)
        step = _RekvStep(self, [whole.shape[1]], whole)
        decoder.forward(prefix.embeddings, step)
        self.prefix, self.num_tokens = step.captured, whole.shape[1]
        self._slide(step.local, (whole, whole[:, -1] + 1))

    def restore(self, num_tokens: int, blocks: Sequence[Placed], kept: LayerKV) -> None:
        """Continue after `num_tokens` tokens of blocks; `kept` are keys and values of the last
        `blocks`, which must reach back `n_local` tokens, or to the first block.
        """
        self.num_tokens = self.prefix[0][0].shape[1] + num_tokens
        missing = num_tokens - kept[0][0].shape[1]
        local = []
        for sinks, past in zip(self.prefix, kept, strict=True):
            parts = [past] if missing else [sinks, past]
            keys, values = (torch.cat(part, dim=1) for part in zip(*parts, strict=True))
            local.append((keys[:, -self.n_local :], values[:, -self.n_local :]))
        self._slide(local, self._laid(blocks))

    def work(self, chunk: Sequence[Tokens]) -> Work[Encoded]:
        counts = [len(block.embeddings) for block in chunk]
        laid = self._laid(chunk)
        step = _RekvStep(self, counts, laid[0])
        hidden = yield pass_of(chunk, step, self._decoder.device)
        self.num_tokens += len(hidden)
        self._slide(step.local, laid)
        return split_by_block(step.captured, chunk), hidden

    def _laid(self, blocks: Sequence[Placed]) -> _Laid:
        """Return the positions of [local tokens | blocks], and where the next block starts."""
        axes, device = self._decoder.num_axes, self._decoder.device
        positions, _ = lay_out(0, blocks, axes)
        advance = torch.stack([block.advance for block in blocks]).sum(dim=0)
        behind = self._base[:, None] + positions.to(device)
        return torch.cat([self._positions, behind], dim=1), self._base + advance.to(device)

    def _slide(self, local: LayerKV, laid: _Laid) -> None:
        positions, base = laid
        self.local, positions = local, positions[:, -self.n_local :]
        first = positions.amin(dim=1)
        self._positions, self._base = positions - first[:, None], base - first


class _RekvStep:
    def __init__(self, stream: RekvPrefill, counts: Sequence[int], positions: Tensor) -> None:
        """`counts` are the tokens of each block; `positions` cover the local tokens and theirs."""
        self._stream = stream
        self._counts = counts
        self._positions = positions
        self.captured: LayerKV = []
        self.local: LayerKV = []

    def attend(
        self, layer: int, queries: Tensor, keys: Tensor, values: Tensor, scale: float
    ) -> Tensor:
        self.captured.append((keys, values))
        stream, n_local = self._stream, self._stream.n_local
        past = 0
        if stream.local:
            past = stream.local[layer][0].shape[1]
            keys = torch.cat([stream.local[layer][0], keys], dim=1)
            values = torch.cat([stream.local[layer][1], values], dim=1)
        outputs, start = [], 0
        for count in self._counts:
            end = start + count
            seen = slice(max(0, past + start - n_local), past + end)
            positions = self._positions[:, seen]
            positions = positions - positions.amin(dim=1, keepdim=True)
            block, local = queries[:, start:end], stream.rope.rotate(keys[:, seen], positions)
            rotated = stream.rope.rotate(block, positions[:, -count:])
            # The sinks that have left the window of the newest token.
            outside = max(0, stream.num_tokens + end - n_local)
            sinks = stream.prefix[layer] if stream.prefix else (keys[:, :0], values[:, :0])
            sinks = (sinks[0][:, :outside], sinks[1][:, :outside])
            near = _Near(rotated, local, values[:, seen], positions)
            outputs.append(_window_and_sinks(stream.rope, n_local, block, near, sinks, scale))
            start = end
        self.local.append((keys[:, -n_local:], values[:, -n_local:]))
        return torch.cat(outputs, dim=1)


class RekvContext(AnswerContext):
    """A context in which text sees `n_local` tokens back, and the sinks from further away."""

    def __init__(
        self, decoder: Decoder, prefix: LayerKV, memory: MemoryReader, room: int, n_local: int
    ) -> None:
        super().__init__(decoder, prefix, memory, room)
        self._n_local = n_local

    def look(self, layer: int, queries: Tensor, rotated: Tensor, scale: float) -> Tensor:
        laid = self.laid(layer)
        if laid.filled <= self._n_local:
            return super().look(layer, queries, rotated, scale)
        rope, n_local, sinks = self._decoder.rope, self._n_local, self.prefix[layer]
        num_text, axes = laid.filled - laid.positions.shape[1], self._decoder.num_axes
        text = text_positions(laid.next_text - num_text, num_text, axes, queries.device)
        positions = torch.cat([laid.positions, text], dim=1)
        near = _Near(rotated, laid.keys, laid.values, positions)
        return _window_and_sinks(rope, n_local, queries, near, sinks, scale, sees_near_sinks=False)


def _window_and_sinks(
    rope: Rope,
    n_local: int,
    queries: Float[Tensor, "heads q_tokens head_dim"],
    near: _Near,
    sinks: tuple[Tensor, Tensor],
    scale: float,
    sees_near_sinks: bool = True,
) -> Float[Tensor, "heads q_tokens head_dim"]:
    """Attend to `near` within the window and to `sinks` at one distance, under one softmax. The
    queries belong to the last keys of `near`; `queries` and `sinks` are not rotated yet. With
    `sees_near_sinks`, sinks that are still in the window are seen twice.
    """
    rotated, keys, values, positions = near
    sink_keys, sink_values = sinks
    q_tokens, num_sinks = queries.shape[1], sink_keys.shape[1]
    index = torch.arange(keys.shape[1], device=keys.device)
    distance = index[len(index) - q_tokens :, None] - index
    in_window = (distance >= 0) & (distance < n_local)
    if sees_near_sinks:
        sees_sink = in_window.new_ones(q_tokens, num_sinks)
    else:
        sees_sink = distance[:, :num_sinks] >= n_local
    far = rope.rotate(queries, _farthest(positions, q_tokens, n_local))
    near_keys = torch.cat([keys, torch.zeros_like(keys)], dim=-1)
    far_keys = torch.cat([torch.zeros_like(sink_keys), sink_keys], dim=-1)
    return grouped_attention(
        torch.cat([rotated, far], dim=-1),
        torch.cat([far_keys, near_keys], dim=1),
        torch.cat([sink_values, values], dim=1),
        scale,
        torch.cat([sees_sink, in_window], dim=1),
    )


def _farthest(
    positions: Int[Tensor, "axes tokens"], q_tokens: int, n_local: int
) -> Int[Tensor, "axes q_tokens"]:
    """Return how far each of the last tokens is from the farthest of its window, on each axis. If
    the window reaches further back than the first token, text is assumed to precede that.
    """
    tokens = positions.shape[1]
    oldest = torch.arange(tokens - q_tokens, tokens, device=positions.device) - (n_local - 1)
    lowest = positions.flip(1).cummin(dim=1).values.flip(1)
    return positions[:, -q_tokens:] - lowest[:, oldest.clamp(min=0)] + (-oldest).clamp(min=0)
