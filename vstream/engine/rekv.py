"""ReKV's own attention rules, so that its results can be reproduced and compared with.

Source: ReKV (https://arxiv.org/abs/2503.00540), as its released code computes it:
- prefill: a sliding window of `n_local` tokens at true distances. The attention sinks ("init"
  tokens) that have left the window of the newest block are attended to by every query of that
  block at one distance, n_local - 1. For a block or two they are still in the window of the
  block's first queries as well and count twice there;
- answer: [sinks | retrieved blocks | prompt] at contiguous positions, recent blocks being
  candidates like all others; past `n_local` tokens the same window and one distance apply.
The memory policy `rekv` uses it. One rotary axis only.

Both rules need two rotations of a query under one softmax: the rotations lie side by side in the
head dimension, and each key is zero in the half that is not meant for it.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from encoders import TextTokens
from memory import MemoryReader
from memory.policy_hooks import Tokens
from vstream.engine.answer_context import AnswerContext
from vstream.engine.decoder import Decoder, grouped_attention
from vstream.engine.passes import Pass, Work, alone
from vstream.engine.positions import Rope, text_positions
from vstream.engine.prefill import Encoded, LayerKV, WritePath, split_by_block
from vstream.errors import SettingsError


class RekvPrefill(WritePath):
    """The write path of one stream by ReKV's window; stands in for `Prefill`."""

    def __init__(self, decoder: Decoder, prefix: TextTokens, n_local: int) -> None:
        if decoder.num_axes != 1:
            raise SettingsError("ReKV's rules are for one rotary axis only")
        self._decoder = decoder
        self.rope = decoder.rope
        self.n_local = n_local
        self.num_tokens = 0
        self.local: LayerKV = []
        self.prefix: LayerKV = []
        whole = self._run(prefix.embeddings, len(prefix.embeddings))
        self.prefix = alone(decoder, whole)[0]

    def restore(self, num_tokens: int, kept: LayerKV) -> None:
        """Go on after `num_tokens` tokens of blocks, of which `kept` are the last.

        `kept` must reach back `n_local` tokens, or to the first block.
        """
        self.num_tokens = self.prefix[0][0].shape[1] + num_tokens
        missing = num_tokens - kept[0][0].shape[1]
        self.local = []
        for sinks, past in zip(self.prefix, kept, strict=True):
            parts = [past] if missing else [sinks, past]
            keys, values = (torch.cat(part, dim=1) for part in zip(*parts, strict=True))
            self.local.append((keys[:, -self.n_local :], values[:, -self.n_local :]))

    def longest_chunk(self) -> int:
        """Any chunk gives the same keys and values."""
        return 1 << 30

    def encode(self, chunk: Sequence[Tokens]) -> Encoded:
        """`work`, run by itself."""
        return alone(self._decoder, self.work(chunk))

    def work(self, chunk: Sequence[Tokens]) -> Work[Encoded]:
        """As `Prefill.work`. Raises ValueError for blocks of different lengths."""
        if len({len(block.embeddings) for block in chunk}) > 1:
            raise ValueError("ReKV's rules are for blocks of one length")
        embeddings = torch.cat([block.embeddings for block in chunk])
        captured, hidden = yield from self._run(embeddings, len(chunk[0].embeddings))
        return split_by_block(captured, chunk), hidden

    def _run(self, embeddings: Tensor, block_tokens: int) -> Work[tuple[LayerKV, Tensor]]:
        step = _RekvStep(self, block_tokens)
        hidden = yield Pass(embeddings, step)
        self.num_tokens += len(embeddings)
        self.local = step.local
        return step.captured, hidden


class _RekvStep:
    """One call of the decoder, attending block by block."""

    def __init__(self, stream: RekvPrefill, block_tokens: int) -> None:
        self._stream = stream
        self._block_tokens = block_tokens
        self.captured: LayerKV = []
        self.local: LayerKV = []

    def attend(
        self, layer: int, queries: Tensor, keys: Tensor, values: Tensor, scale: float
    ) -> Tensor:
        self.captured.append((keys, values))
        stream, n_local, new = self._stream, self._stream.n_local, keys.shape[1]
        if stream.local:
            keys = torch.cat([stream.local[layer][0], keys], dim=1)
            values = torch.cat([stream.local[layer][1], values], dim=1)
        past = keys.shape[1] - new
        outputs = []
        for start in range(0, new, self._block_tokens):
            end = min(start + self._block_tokens, new)
            seen = slice(max(0, past + start - n_local), past + end)
            positions = text_positions(0, seen.stop - seen.start, 1, keys.device)
            block, local = queries[:, start:end], stream.rope.rotate(keys[:, seen], positions)
            rotated = stream.rope.rotate(block, positions[:, start - end :])
            # The sinks that have left the window of the newest token.
            outside = max(0, stream.num_tokens + end - n_local)
            sinks = stream.prefix[layer] if stream.prefix else (keys[:, :0], values[:, :0])
            sinks = (sinks[0][:, :outside], sinks[1][:, :outside])
            near = rotated, local, values[:, seen]
            outputs.append(_window_and_sinks(stream.rope, n_local, block, near, sinks, scale))
        self.local.append((keys[:, -n_local:], values[:, -n_local:]))
        return torch.cat(outputs, dim=1)


class RekvContext(AnswerContext):
    """An answer's context in which text sees `n_local` tokens back, and sinks from further away."""

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
        near = rotated, laid.keys, laid.values
        return _window_and_sinks(rope, n_local, queries, near, sinks, scale, sees_near_sinks=False)


def _window_and_sinks(
    rope: Rope,
    n_local: int,
    queries: Float[Tensor, "heads q_tokens head_dim"],
    near: tuple[Tensor, Tensor, Tensor],
    sinks: tuple[Tensor, Tensor],
    scale: float,
    sees_near_sinks: bool = True,
) -> Float[Tensor, "heads q_tokens head_dim"]:
    """Attend to `near` within the window and to `sinks` at distance n_local - 1, under one softmax.

    `near`: rotated queries, rotated keys and values; the queries belong to the last of the keys.
    `queries` and `sinks` are not rotated yet. Sinks still in the window are seen, too, or not.
    """
    rotated, keys, values = near
    sink_keys, sink_values = sinks
    q_tokens, num_sinks = queries.shape[1], sink_keys.shape[1]
    index = torch.arange(keys.shape[1], device=keys.device)
    distance = index[len(index) - q_tokens :, None] - index
    in_window = (distance >= 0) & (distance < n_local)
    if sees_near_sinks:
        sees_sink = in_window.new_ones(q_tokens, num_sinks)
    else:
        sees_sink = distance[:, :num_sinks] >= n_local
    far = rope.rotate(queries, torch.full((1, q_tokens), n_local - 1, device=queries.device))
    near_keys = torch.cat([keys, torch.zeros_like(keys)], dim=-1)
    far_keys = torch.cat([torch.zeros_like(sink_keys), sink_keys], dim=-1)
    return grouped_attention(
        torch.cat([rotated, far], dim=-1),
        torch.cat([far_keys, near_keys], dim=1),
        torch.cat([sink_values, values], dim=1),
        scale,
        torch.cat([sees_sink, in_window], dim=1),
    )
