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
from jaxtyping import Float, Int
from torch import Tensor

from encoders import TextTokens
from memory import MemoryReader
from memory.policy_hooks import Tokens
from vstream.engine.answer_context import AnswerContext
from vstream.engine.decoder import Decoder, grouped_attention
from vstream.engine.passes import Pass, Work, alone
from vstream.engine.positions import Rope, text_positions
from vstream.engine.prefill import LayerKV, Mass, split_by_block
from vstream.errors import SettingsError


class RekvPrefill:
    """The write path of one stream by ReKV's window; stands in for `Prefill`."""

    def __init__(self, decoder: Decoder, prefix: TextTokens, n_local: int) -> None:
        if decoder.num_axes != 1:
            raise SettingsError("ReKV's rules are for one rotary axis only")
        self._decoder = decoder
        self._n_local = n_local
        self.num_tokens = 0
        self._local: LayerKV = []
        self.prefix: LayerKV = []
        self.mass: Sequence[Mass] = ()
        """None is computed."""
        whole = self._run(prefix.embeddings, len(prefix.embeddings))
        self.prefix = alone(decoder, whole)[0]

    def restore(self, num_tokens: int, kept: LayerKV) -> None:
        """Go on after `num_tokens` tokens of blocks, of which `kept` are the last.

        `kept` must reach back `n_local` tokens, or to the first block.
        """
        self.num_tokens = self.prefix[0][0].shape[1] + num_tokens
        missing = num_tokens - kept[0][0].shape[1]
        past = kept if missing else _joined(self.prefix, kept)
        self._local = [(k[:, -self._n_local :], v[:, -self._n_local :]) for k, v in past]

    def longest_chunk(self) -> int:
        """Any chunk gives the same keys and values."""
        return 1 << 30

    def encode(
        self, chunk: Sequence[Tokens]
    ) -> tuple[list[LayerKV], Float[Tensor, "tokens d_model"]]:
        """`work`, run by itself."""
        return alone(self._decoder, self.work(chunk))

    def work(
        self, chunk: Sequence[Tokens]
    ) -> Work[tuple[list[LayerKV], Float[Tensor, "tokens d_model"]]]:
        """As `Prefill.work`. Raises ValueError for blocks of different lengths."""
        if len({len(block.embeddings) for block in chunk}) > 1:
            raise ValueError("ReKV's rules are for blocks of one length")
        embeddings = torch.cat([block.embeddings for block in chunk])
        captured, hidden = yield from self._run(embeddings, len(chunk[0].embeddings))
        return split_by_block(captured, chunk), hidden

    def _run(self, embeddings: Tensor, block_tokens: int) -> Work[tuple[LayerKV, Tensor]]:
        step = _RekvPrefillStep(
            self._decoder.rope,
            self._n_local,
            self.num_tokens,
            block_tokens,
            self._local,
            self.prefix,
        )
        hidden = yield Pass(embeddings, step)
        self.num_tokens += len(embeddings)
        self._local = step.local
        return step.captured, hidden


class _RekvPrefillStep:
    """One call of the decoder, attending block by block."""

    def __init__(
        self,
        rope: Rope,
        n_local: int,
        num_tokens: int,
        block_tokens: int,
        past: LayerKV,
        sinks: LayerKV,
    ) -> None:
        self._rope = rope
        self._n_local = n_local
        self._num_tokens = num_tokens
        self._block_tokens = block_tokens
        self._past = past
        self._sinks = sinks
        self.captured: LayerKV = []
        self.local: LayerKV = []

    def attend(
        self, layer: int, queries: Tensor, keys: Tensor, values: Tensor, scale: float
    ) -> Tensor:
        self.captured.append((keys, values))
        new = keys.shape[1]
        if self._past:
            keys = torch.cat([self._past[layer][0], keys], dim=1)
            values = torch.cat([self._past[layer][1], values], dim=1)
        past = keys.shape[1] - new
        outputs = []
        for start in range(0, new, self._block_tokens):
            end = min(start + self._block_tokens, new)
            left = max(0, past + start - self._n_local)
            local = (keys[:, left : past + end], values[:, left : past + end])
            block = queries[:, start:end]
            sinks = self._sinks_outside(layer, self._num_tokens + end, keys)
            outputs.append(window_and_sinks(self._rope, self._n_local, block, local, sinks, scale))
        self.local.append((keys[:, -self._n_local :], values[:, -self._n_local :]))
        return torch.cat(outputs, dim=1)

    def _sinks_outside(self, layer: int, total: int, like: Tensor) -> tuple[Tensor, Tensor]:
        """The sinks that have left the window of the newest of `total` tokens."""
        if not self._sinks:
            return like[:, :0], like[:, :0]
        keys, values = self._sinks[layer]
        outside = max(0, total - self._n_local)
        return keys[:, :outside], values[:, :outside]


class RekvContext(AnswerContext):
    """An answer's context in which text sees `n_local` tokens back, and sinks from further away."""

    def __init__(
        self, decoder: Decoder, prefix: LayerKV, memory: MemoryReader, room: int, n_local: int
    ) -> None:
        super().__init__(decoder, prefix, memory, room)
        self._n_local = n_local

    def look(self, layer: int, queries: Tensor, rotated: Tensor, scale: float) -> Tensor:
        end = self._filled[layer]
        if end <= self._n_local:
            return super().look(layer, queries, rotated, scale)
        q_tokens, rope = queries.shape[1], self._decoder.rope
        sink_keys, sink_values = self.prefix[layer]
        distance = _distance(q_tokens, end, queries.device)
        in_window = (distance >= 0) & (distance < self._n_local)
        return _two_rotations(
            rotated,
            rope.rotate(queries, _same_position(self._n_local - 1, queries)),
            (self._keys[layer][:, :end], self._values[layer][:, :end], in_window),
            (sink_keys, sink_values, distance[:, : sink_keys.shape[1]] >= self._n_local),
            scale,
        )


def _joined(first: LayerKV, second: LayerKV) -> LayerKV:
    return [
        (torch.cat([k1, k2], dim=1), torch.cat([v1, v2], dim=1))
        for (k1, v1), (k2, v2) in zip(first, second, strict=True)
    ]


def window_and_sinks(
    rope: Rope,
    n_local: int,
    queries: Float[Tensor, "heads q_tokens head_dim"],
    local: tuple[Tensor, Tensor],
    sinks: tuple[Tensor, Tensor],
    scale: float,
) -> Float[Tensor, "heads q_tokens head_dim"]:
    """Attend to `local` within the window and to all `sinks` at distance n_local - 1.

    The queries belong to the last tokens of `local`. Keys are not rotated yet.
    """
    keys, values = local
    q_tokens, k_tokens = queries.shape[1], keys.shape[1]
    positions = text_positions(0, k_tokens, 1).to(keys.device)
    distance = _distance(q_tokens, k_tokens, keys.device)
    in_window = (distance >= 0) & (distance < n_local)
    always = in_window.new_ones(q_tokens, sinks[0].shape[1])
    return _two_rotations(
        rope.rotate(queries, positions[:, -q_tokens:]),
        rope.rotate(queries, _same_position(n_local - 1, queries)),
        (rope.rotate(keys, positions), values, in_window),
        (*sinks, always),
        scale,
    )


def _two_rotations(
    near_queries: Tensor,
    far_queries: Tensor,
    near: tuple[Tensor, Tensor, Tensor],
    far: tuple[Tensor, Tensor, Tensor],
    scale: float,
) -> Tensor:
    """One softmax over `near` (seen by near_queries) and `far`: (rotated keys, values, mask)."""
    near_keys = torch.cat([near[0], torch.zeros_like(near[0])], dim=-1)
    far_keys = torch.cat([torch.zeros_like(far[0]), far[0]], dim=-1)
    return grouped_attention(
        torch.cat([near_queries, far_queries], dim=-1),
        torch.cat([far_keys, near_keys], dim=1),
        torch.cat([far[1], near[1]], dim=1),
        scale,
        torch.cat([far[2], near[2]], dim=1),
    )


def _distance(q_tokens: int, k_tokens: int, device: torch.device) -> Int[Tensor, "queries keys"]:
    """How many tokens back each key lies; the queries are the last tokens among the keys."""
    index = torch.arange(k_tokens, device=device)
    return index[k_tokens - q_tokens :, None] - index[None]


def _same_position(position: int, queries: Tensor) -> Int[Tensor, "1 tokens"]:
    return torch.full((1, queries.shape[1]), position, device=queries.device)
