"""Prefill: visual tokens of a stream in, KV blocks out, through a local window that slides.

The decoder sees [prefix | local window | chunk], token-causal, positions contiguous from 0. The
window's left edge moves in steps of `window_stride` blocks counted from the start of the stream,
never in between, and a chunk never crosses such a step. Block n therefore sees the same blocks at
the same distances however the stream is cut into chunks, and so has the same keys and values.

Between two steps nothing moves that stands before a new block, so its keys are rotated once and
written behind the others. Only a step lays the window out again: then what is left of it is
rotated to its new place, from keys before RoPE as always.

Source: attention sinks and positions inside the cache as in StreamingLLM
(https://arxiv.org/abs/2309.17453, section 3.2), which rotates the whole cache for every token; the
block-wise encoding is ReKV's (https://arxiv.org/abs/2503.00540, section 3.1). Differs from both:
the window moves in steps of blocks, not token by token, positions count from a left edge that
stands still for a step, and the prefix keeps its place in front of it instead of one fixed
distance. `vstream.engine.rekv` has ReKV's own rule.
"""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from encoders import TextTokens
from memory.policy_hooks import Tokens
from vstream.engine.decoder import Decoder, PlainStep, attention_mass
from vstream.engine.passes import Pass, Work, alone, joined_deepstack
from vstream.engine.positions import Placed, lay_out, text_positions

LayerKV = list[tuple[Tensor, Tensor]]
"""Keys (before RoPE) and values of each layer, both [kv_heads, tokens, head_dim]."""
Mass = Mapping[int, Float[Tensor, "layers kv_heads tokens"]]
"""By the id of a block: the attention that each of its tokens got, summed over queries and over the
heads of a group.
"""
_SPARE = 0.25
"""Of the room that is needed, so much is taken in addition when a buffer grows."""


class LocalWindow:
    """Which blocks a block sees. Counts are in blocks; `size` 0 means all that came before."""

    def __init__(self, size: int, stride: int) -> None:
        if size and not 0 < stride <= size:
            raise ValueError(f"window_stride must be between 1 and the window of {size}: {stride}")
        self.size = size
        self.stride = stride

    def left_edge(self, block: int) -> int:
        """The first block that block number `block` sees: at most `size` blocks with itself."""
        if not self.size:
            return 0
        return max(0, block - block % self.stride - (self.size - self.stride))

    def until_step(self, block: int) -> int:
        """How many blocks, from `block` on, share its left edge: the longest chunk from there."""
        return self.stride - block % self.stride if self.size else 1 << 30


class Prefill:
    """The write path's state of one stream: keys and values of the prefix and the local window."""

    def __init__(
        self,
        decoder: Decoder,
        prefix: TextTokens,
        window: LocalWindow,
        wants_mass: bool = False,
    ) -> None:
        self.mass: Sequence[Mass] = ()
        """For each block of the last chunk, the attention that it paid to the blocks it saw."""
        self._wants_mass = wants_mass
        self._decoder = decoder
        self._window = window
        self.num_blocks = 0
        """Blocks encoded since the start of the stream."""
        self.prefix: LayerKV = prefix_kv(decoder, prefix)
        self._seen = WindowKV(decoder, self.prefix)

    def restore(
        self, num_blocks: int, ids: Sequence[int], blocks: Sequence[Placed], kept: LayerKV
    ) -> None:
        """Go on after `num_blocks` blocks, of which `blocks` are known by their `ids`, as `kept`.

        They are all from `first_needed(num_blocks)` on, but for those that were forgotten.
        """
        self.num_blocks = num_blocks
        self._seen.restore(ids, blocks, split_by_block(kept, blocks))

    def first_needed(self, num_blocks: int) -> int:
        """The first block that the block after `num_blocks` blocks will see."""
        return self._window.left_edge(num_blocks)

    @property
    def window_ids(self) -> list[int]:
        """Ids of the blocks that are kept for the next one to see."""
        return self._seen.ids

    def longest_chunk(self) -> int:
        """Blocks that `encode` accepts at once from here."""
        return self._window.until_step(self.num_blocks)

    def encode(
        self, chunk: Sequence[Tokens]
    ) -> tuple[list[LayerKV], Float[Tensor, "tokens d_model"]]:
        """`work`, run by itself."""
        return alone(self._decoder, self.work(chunk))

    def work(
        self, chunk: Sequence[Tokens]
    ) -> Work[tuple[list[LayerKV], Float[Tensor, "tokens d_model"]]]:
        """Run a chunk of blocks through the decoder in one causal pass.

        Returns the keys and values of each block, layer by layer, and the hidden states of all
        tokens of the chunk. Raises ValueError for a chunk longer than `longest_chunk()`.
        """
        if len(chunk) > self.longest_chunk():
            raise ValueError(f"a chunk of {len(chunk)} blocks crosses a step of the window")
        self._seen.drop_before(self._window.left_edge(self.num_blocks))
        step = self._seen.step(chunk, self._wants_mass)
        hidden = yield Pass(
            torch.cat([block.embeddings for block in chunk]),
            step,
            torch.cat([block.is_visual for block in chunk]),
            joined_deepstack(chunk),
        )
        layers = split_by_block(step.captured, chunk)
        self._seen.put(self.num_blocks, chunk, layers)
        self.mass = self._seen.mass_by_block(step.mass, len(chunk))
        self.num_blocks += len(chunk)
        return layers, hidden


def prefix_kv(decoder: Decoder, prefix: TextTokens) -> LayerKV:
    """What stands before the first block, from position 0 on."""
    tokens = len(prefix.embeddings)
    step = PlainStep(decoder, text_positions(0, tokens, decoder.num_axes, decoder.device))
    decoder.forward(prefix.embeddings, step)
    return step.captured


def split_by_block(captured: LayerKV, chunk: Sequence[Placed]) -> list[LayerKV]:
    """Cut the keys and values of a chunk into those of its blocks."""
    counts = [block.positions.shape[1] for block in chunk]
    layers = [
        (torch.split(keys, counts, dim=1), torch.split(values, counts, dim=1))
        for keys, values in captured
    ]
    return [[(keys[i], values[i]) for keys, values in layers] for i in range(len(chunk))]


@dataclass(frozen=True, eq=False)
class _Block:
    """A block of the window; `keys`, before RoPE, by layer."""

    id: int
    placed: Placed
    keys: list[Tensor]


class WindowKV:
    """What one stream's next chunk sees; room for the chunk behind it."""

    def __init__(self, decoder: Decoder, prefix: LayerKV) -> None:
        self._decoder = decoder
        self._prefix = prefix
        self._blocks: list[_Block] = []
        self._buffers: LayerKV = []
        self._lay([values for _, values in prefix])

    @property
    def ids(self) -> list[int]:
        """Of the blocks in it."""
        return [block.id for block in self._blocks]

    def put(self, first_id: int, chunk: Sequence[Placed], layers: Sequence[LayerKV]) -> None:
        """Keep what `step` has seen of `chunk`, whose ids begin at `first_id`: it is in place."""
        self._blocks += [
            _Block(first_id + i, placed, [keys for keys, _ in kv])
            for i, (placed, kv) in enumerate(zip(chunk, layers, strict=True))
        ]

    @torch.inference_mode()
    def restore(
        self, ids: Sequence[int], blocks: Sequence[Placed], layers: Sequence[LayerKV]
    ) -> None:
        """Begin with these blocks."""
        self._blocks = []
        for number, placed, kv in zip(ids, blocks, layers, strict=True):
            self._blocks.append(_Block(number, placed, [keys for keys, _ in kv]))
        self._lay(
            [
                torch.cat([values, *(kv[layer][1] for kv in layers)], dim=1)
                for layer, (_, values) in enumerate(self._prefix)
            ]
        )

    @torch.inference_mode()
    def drop_before(self, left_edge: int) -> None:
        """Forget blocks with smaller ids; the others move up."""
        outside = bisect_left(self._blocks, left_edge, key=lambda block: block.id)
        if not outside:
            return
        gone, left = (
            sum(block.placed.positions.shape[1] for block in part)
            for part in (self._blocks[:outside], self._blocks[outside:])
        )
        del self._blocks[:outside]
        start = self._prefix_tokens
        self._lay(
            [
                torch.cat([values[:, :start], values[:, start + gone : start + gone + left]], dim=1)
                for _, values in self._buffers
            ]
        )

    def step(self, chunk: Sequence[Placed], wants_mass: bool = False) -> "WindowStep":
        """The step of a pass over `chunk`. What it writes counts once `put` says so."""
        positions = self._positions(chunk)
        self._make_room(positions.shape[1])
        counts = [block.positions.shape[1] for block in chunk] if wants_mass else []
        return WindowStep(self._decoder, self._buffers, positions, counts)

    def mass_by_block(self, mass: Sequence[Sequence[Tensor]], chunk: int) -> list[Mass]:
        """`WindowStep.mass` of a chunk of so many blocks, which were `put`, cut by block."""
        counts = [block.placed.positions.shape[1] for block in self._blocks]
        found: list[Mass] = []
        for at, paid in enumerate(zip(*mass, strict=True), len(self._blocks) - chunk):
            parts = torch.stack(paid)[:, :, self._prefix_tokens :].split(counts[: at + 1], dim=2)
            found.append({block.id: part for block, part in zip(self._blocks, parts, strict=False)})
        return found

    @property
    def _prefix_tokens(self) -> int:
        return self._prefix[0][0].shape[1]

    def _positions(self, more: Sequence[Placed] = ()) -> Tensor:
        """Of [prefix | window | more]."""
        blocks = [*(block.placed for block in self._blocks), *more]
        layout = lay_out(self._prefix_tokens, blocks, self._decoder.num_axes)
        return layout.positions.to(self._decoder.device)

    @torch.inference_mode()
    def _lay(self, values: Sequence[Tensor]) -> None:
        """Write [prefix | window] again; `values` are its values by layer."""
        positions = self._positions()
        tokens = positions.shape[1]
        self._make_room(tokens)
        for layer, (laid_keys, laid_values) in enumerate(self._buffers):
            parts = [self._prefix[layer][0], *(block.keys[layer] for block in self._blocks)]
            keys = torch.cat(parts, dim=1)
            laid_keys[:, :tokens] = self._decoder.rope.rotate(keys, positions)
            laid_values[:, :tokens] = values[layer]

    @torch.inference_mode()
    def _make_room(self, tokens: int) -> None:
        """For so many tokens; what is laid stays."""
        if self._buffers and self._buffers[0][0].shape[1] >= tokens:
            return
        room = tokens + int(_SPARE * tokens)
        grown = []
        for layer, pair in enumerate(self._prefix):
            keys, values = (one.new_empty(one.shape[0], room, one.shape[2]) for one in pair)
            if self._buffers:
                old_keys, old_values = self._buffers[layer]
                keys[:, : old_keys.shape[1]] = old_keys
                values[:, : old_values.shape[1]] = old_values
            grown.append((keys, values))
        self._buffers = grown


class WindowStep:
    """Attend to all that is past and, causally, to the chunk; capture the chunk's keys, values."""

    def __init__(
        self, decoder: Decoder, buffers: LayerKV, positions: Tensor, counts: Sequence[int] = ()
    ) -> None:
        """With `counts`, the tokens of each block of the chunk, attention mass is summed up."""
        self._counts = counts
        self.mass: list[list[Tensor]] = []
        """By layer and block of the chunk: what it paid to the tokens up to its end, [kv_heads,
        tokens].
        """
        self._decoder = decoder
        self._buffers = buffers
        self._positions = positions
        self.captured: LayerKV = []

    def attend(
        self, layer: int, queries: Tensor, keys: Tensor, values: Tensor, scale: float
    ) -> Tensor:
        keys = keys.clone()  # the window holds it for long, and not what shared the pass
        self.captured.append((keys, values))
        laid_keys, laid_values = self._buffers[layer]
        tokens, end = queries.shape[1], self._positions.shape[1]
        positions = self._positions[:, end - tokens :]
        rotated = self._decoder.rope.rotate(torch.cat([queries, keys]), positions)
        laid_keys[:, end - tokens : end] = rotated[len(queries) :]
        laid_values[:, end - tokens : end] = values
        if self._counts:
            start, paid = end - tokens, []
            for part in rotated[: len(queries)].split(list(self._counts), dim=1):
                start += part.shape[1]
                paid.append(attention_mass(part, laid_keys[:, :start], scale))
            self.mass.append(paid)
        return self._decoder.attend_causally(
            rotated[: len(queries)], laid_keys[:, :end], laid_values[:, :end], scale
        )
