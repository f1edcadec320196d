"""Prefill: turns a stream's visual tokens into KV blocks, through a local window that slides.

The decoder sees [prefix | local window | chunk], token-causal, positions contiguous from 0. The
window's left edge moves in steps of `window_stride` blocks counted from the start of the stream,
never in between, and a chunk never crosses such a step. So block n sees the same blocks at the same
distances however the stream is cut into chunks, and has the same keys and values.

Source: attention sinks and positions inside the cache as in StreamingLLM
(https://arxiv.org/abs/2309.17453, section 3.2), which rotates the whole cache for every token; the
block-wise encoding is ReKV's (https://arxiv.org/abs/2503.00540, section 3.1). Differs from both:
the window moves in steps of blocks, not token by token; positions count from a left edge that
stands still for a step; and the prefix stays right in front of the window, not at one fixed
distance. `vstream.engine.rekv` has ReKV's own rule.
"""

import time
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from encoders import Frame, TextTokens
from memory import BlockInfo, KVBlock
from memory.policy_hooks import UNCHANGED, StateChange, Tokens
from vstream.engine.decoder import Decoder, PlainStep, Step, attention_mass
from vstream.engine.passes import Pass, Work, alone, joined_deepstack
from vstream.engine.positions import Placed, lay_out, text_positions

LayerKV = list[tuple[Tensor, Tensor]]
"""Keys (before RoPE) and values of each layer, both [kv_heads, tokens, head_dim]."""
Encoded = tuple[list[LayerKV], Float[Tensor, "tokens d_model"]]
"""For a chunk: each block's keys and values by layer, and the hidden states of all tokens."""
Mass = Mapping[int, Float[Tensor, "layers kv_heads tokens"]]
"""By block id: the attention that each token got, summed over queries and a group's heads."""
_SPARE = 0.25
"""The share of extra room that a buffer gets when it grows."""


class LocalWindow:
    """Which blocks a block sees. Counts are in blocks; `size` 0 means all earlier ones."""

    def __init__(self, size: int, stride: int, sinks: int | None = None) -> None:
        """`sinks` is how many first prefix tokens stay once the window is full; None: all."""
        if size and not 0 < stride <= size:
            raise ValueError(f"window_stride must be between 1 and the window of {size}: {stride}")
        self.size = size
        self.stride = stride
        self.sinks = sinks

    def left_edge(self, block: int) -> int:
        """Return the first block that `block` sees: at most `size` blocks, itself included."""
        if not self.size:
            return 0
        return max(0, block - block % self.stride - (self.size - self.stride))

    def until_step(self, block: int) -> int:
        """Return how many blocks from `block` on share its left edge: the longest chunk there."""
        return self.stride - block % self.stride if self.size else 1 << 30

    def prefix_of(self, block: int, prefix: LayerKV) -> LayerKV:
        """Return what `block` sees of the prefix."""
        seen = block - block % self.stride + self.stride - self.left_edge(block)
        return standing_prefix(prefix, self.sinks, self.size - seen)


class WritePath:
    """What a stream's write path reports besides keys and values."""

    mass: Sequence[Mass] = ()
    """For each block of the last chunk, the attention that it paid to the blocks it saw."""
    left: Sequence[Mapping[int, Tensor]] = ()
    """For each block of the last chunk, the head vectors of the blocks that left the window."""
    reads_memory = False
    """Whether it reads past blocks, so that all encoded ones must be in the memory."""

    num_blocks = 0
    """Blocks encoded since the start of the stream."""
    is_note_due = False

    _decoder: Decoder

    def note(self) -> StateChange:
        """Return what it needs to continue after a restart and no block holds."""
        return UNCHANGED

    def longest_chunk(self) -> int:
        """Return how many blocks `encode` accepts; any chunk gives the same keys and values."""
        return 1 << 30

    def encode(self, chunk: Sequence[Tokens]) -> Encoded:
        return alone(self._decoder, self.work(chunk))

    def work(self, chunk: Sequence[Tokens]) -> Work[Encoded]:
        """Run a chunk of blocks through the decoder in one causal pass."""
        raise NotImplementedError


class Prefill(WritePath):
    """The write path of one stream: keys and values of the prefix and the local window, and room
    for a chunk behind them.
    """

    def __init__(
        self, decoder: Decoder, prefix: TextTokens, window: LocalWindow, wants_mass: bool = False
    ) -> None:
        self._wants_mass = wants_mass
        self._decoder = decoder
        self._window = window
        self.prefix: LayerKV = prefix_kv(decoder, prefix)
        self._standing = self.prefix
        self._blocks: list[_Block] = []
        self._buffers: LayerKV = []
        self._lay([values for _, values in self.prefix])

    def restore(
        self, num_blocks: int, ids: Sequence[int], blocks: Sequence[Placed], kept: LayerKV
    ) -> None:
        """Continue after `num_blocks` blocks. `blocks`, with their `ids` and their keys and values
        `kept`, are all from `first_needed(num_blocks)` on, except those that were forgotten.
        """
        self.num_blocks = num_blocks
        self._blocks = _blocks(ids, blocks, split_by_block(kept, blocks))
        pairs = zip(self.prefix, kept, strict=True)
        self._lay([torch.cat([first, values], dim=1) for (_, first), (_, values) in pairs])

    def first_needed(self, num_blocks: int) -> int:
        """Return the first block that the block after `num_blocks` blocks will see."""
        return self._window.left_edge(num_blocks)

    def longest_chunk(self) -> int:
        """Return how many blocks `encode` accepts at once from here."""
        return self._window.until_step(self.num_blocks)

    def work(self, chunk: Sequence[Tokens]) -> Work[Encoded]:
        """Raises ValueError for a chunk longer than `longest_chunk()`."""
        if len(chunk) > self.longest_chunk():
            raise ValueError(f"a chunk of {len(chunk)} blocks crosses a step of the window")
        self._slide()
        positions = self._positions(chunk)
        self._make_room(positions.shape[1])
        counts = [block.positions.shape[1] for block in chunk] if self._wants_mass else []
        step = WindowStep(self._decoder, self._buffers, positions, counts)
        hidden = yield pass_of(chunk, step, self._decoder.device)
        layers = split_by_block(step.captured, chunk)
        first, self.num_blocks = self.num_blocks, self.num_blocks + len(chunk)
        self._blocks += _blocks(range(first, self.num_blocks), chunk, layers)
        self.mass = self._mass_by_block(step.mass, len(chunk))
        return layers, hidden

    @torch.inference_mode()
    def _slide(self) -> None:
        left_edge = self._window.left_edge(self.num_blocks)
        standing = self._window.prefix_of(self.num_blocks, self.prefix)
        outside = bisect_left(self._blocks, left_edge, key=lambda block: block.id)
        if not outside and _tokens(standing) == self._prefix_tokens:
            return
        gone = sum(block.placed.positions.shape[1] for block in self._blocks[:outside])
        start, end = self._prefix_tokens, self._positions().shape[1]
        del self._blocks[:outside]
        self._standing = standing
        pairs = zip(standing, self._buffers, strict=True)
        self._lay(
            [
                torch.cat([first, values[:, start + gone : end]], dim=1)
                for (_, first), (_, values) in pairs
            ]
        )

    @property
    def _prefix_tokens(self) -> int:
        return _tokens(self._standing)

    def _mass_by_block(self, mass: Sequence[Sequence[Tensor]], chunk: int) -> list[Mass]:
        """Split `WindowStep.mass` of the newest blocks, a chunk, by block."""
        counts = [block.placed.positions.shape[1] for block in self._blocks]
        found: list[Mass] = []
        for at, paid in enumerate(zip(*mass, strict=True), len(self._blocks) - chunk):
            parts = torch.stack(paid)[:, :, self._prefix_tokens :].split(counts[: at + 1], dim=2)
            found.append({block.id: part for block, part in zip(self._blocks, parts, strict=False)})
        return found

    def _positions(self, more: Sequence[Placed] = ()) -> Tensor:
        blocks = [*(block.placed for block in self._blocks), *more]
        positions, _ = lay_out(self._prefix_tokens, blocks, self._decoder.num_axes)
        return positions.to(self._decoder.device)

    @torch.inference_mode()
    def _lay(self, values: Sequence[Tensor]) -> None:
        """Write [prefix | window] again; `values` are its values by layer."""
        positions = self._positions()
        tokens = positions.shape[1]
        self._make_room(tokens)
        for layer, (laid_keys, laid_values) in enumerate(self._buffers):
            parts = [self._standing[layer][0], *(block.keys[layer] for block in self._blocks)]
            keys = torch.cat(parts, dim=1)
            laid_keys[:, :tokens] = self._decoder.rope.rotate(keys, positions)
            laid_values[:, :tokens] = values[layer]

    @torch.inference_mode()
    def _make_room(self, tokens: int) -> None:
        if self._buffers and self._buffers[0][0].shape[1] >= tokens:
            return
        room = tokens + int(_SPARE * tokens)
        grown = []
        for pair in self._buffers or self.prefix:
            keys, values = (one.new_empty(one.shape[0], room, one.shape[2]) for one in pair)
            if self._buffers:
                keys[:, : pair[0].shape[1]], values[:, : pair[1].shape[1]] = pair
            grown.append((keys, values))
        self._buffers = grown


def pass_of(chunk: Sequence[Tokens], step: Step, device: torch.device) -> Pass:
    """Return the pass of a decoder on `device` over the tokens of a chunk."""
    deepstack = joined_deepstack(chunk)
    return Pass(
        torch.cat([block.embeddings for block in chunk]).to(device),
        step,
        torch.cat([block.is_visual for block in chunk]).to(device),
        None if deepstack is None else deepstack.to(device),
    )


def prefix_kv(decoder: Decoder, prefix: TextTokens) -> LayerKV:
    """Compute keys and values of what precedes the first block, from position 0 on."""
    tokens = len(prefix.embeddings)
    step = PlainStep(decoder, text_positions(0, tokens, decoder.num_axes, decoder.device))
    decoder.forward(prefix.embeddings, step)
    return step.captured


def standing_prefix(prefix: LayerKV, sinks: int | None, others: int) -> LayerKV:
    """Return its first `sinks` tokens (None: all) and the newest `others` of the rest."""
    if sinks is None or _tokens(prefix) - sinks <= others:
        return prefix
    stay = [*range(sinks), *range(_tokens(prefix) - others, _tokens(prefix))]
    return [(keys[:, stay], values[:, stay]) for keys, values in prefix]


def _tokens(kv: LayerKV) -> int:
    return kv[0][0].shape[1]


def split_by_block(captured: LayerKV, chunk: Sequence[Placed]) -> list[LayerKV]:
    """Split the keys and values of a chunk into those of its blocks."""
    counts = [block.positions.shape[1] for block in chunk]
    layers = [
        (torch.split(keys, counts, dim=1), torch.split(values, counts, dim=1))
        for keys, values in captured
    ]
    return [[(keys[i], values[i]) for keys, values in layers] for i in range(len(chunk))]


@dataclass(frozen=True, eq=False)
class _Block:
    """A block of the window, with its keys before RoPE by layer."""

    id: int
    placed: Placed
    keys: list[Tensor]


def _blocks(
    ids: Sequence[int], placed: Sequence[Placed], layers: Sequence[LayerKV]
) -> list[_Block]:
    found = zip(ids, placed, layers, strict=True)
    return [_Block(number, one, [keys for keys, _ in kv]) for number, one, kv in found]


class WindowStep:
    """Attends to all the past and, causally, to the chunk; captures the chunk's keys and values."""

    def __init__(
        self, decoder: Decoder, buffers: LayerKV, positions: Tensor, counts: Sequence[int] = ()
    ) -> None:
        """With `counts`, the tokens of each block of the chunk, it sums up attention mass."""
        self._counts = counts
        self.mass: list[list[Tensor]] = []
        """By layer and block of the chunk: what it paid to tokens so far, [kv_heads, tokens]."""
        self._decoder = decoder
        self._buffers = buffers
        self._positions = positions
        self.captured: LayerKV = []

    def attend(
        self, layer: int, queries: Tensor, keys: Tensor, values: Tensor, scale: float
    ) -> Tensor:
        keys = keys.clone()  # or the window would keep everything that shared the pass
        self.captured.append((keys, values))
        laid_keys, laid_values = self._buffers[layer]
        end = self._positions.shape[1]
        start = end - queries.shape[1]
        both = torch.cat([queries, keys])
        rotated = self._decoder.rope.rotate(both, self._positions[:, start:])
        laid_keys[:, start:end], laid_values[:, start:end] = rotated[len(queries) :], values
        if self._counts:
            paid = []
            for part in rotated[: len(queries)].split(list(self._counts), dim=1):
                start += part.shape[1]
                paid.append(attention_mass(part, laid_keys[:, :start], scale))
            self.mass.append(paid)
        return self._decoder.attend_causally(
            rotated[: len(queries)], laid_keys[:, :end], laid_values[:, :end], scale
        )


@dataclass(frozen=True, eq=False)
class Chunk:
    """One chunk of one stream: for each block its newest frame, tokens, keys and values."""

    newest: Sequence[Frame]
    tokens: Sequence[Tokens]
    layers: Sequence[LayerKV]
    mass: Sequence[Mass]
    """For each block, if wanted."""
    left: Sequence[Mapping[int, Tensor]]
    """For each block, the head vectors of those that left the window with it."""
    noted: StateChange
    """What the write path notes with the last block."""
    pictures: Sequence[Tensor]
    """What the family makes of each block's picture, if wanted."""
    made: torch.cuda.Event | None
    """The GPU passes it once the keys and values are there."""
    stream_id: str
    began_at: float
    """When it got its turn on the device, Unix time."""
    encoded_at: float = field(default_factory=time.time)


def block_of(
    newest: Frame, tokens: Tokens, kv: LayerKV, picture: bytes, left: Mapping[int, Tensor]
) -> KVBlock:
    """Return what is kept of one block, with the picture and the head vectors it carries."""
    info = BlockInfo(
        start_s=tokens.start_s,
        end_s=tokens.end_s,
        captured_at=newest.captured_at,
        positions=tokens.positions,
        advance=tokens.advance,
    )
    return KVBlock(
        info,
        keys=torch.stack([keys for keys, _ in kv]),
        values=torch.stack([values for _, values in kv]),
        thumbnail=picture,
        left=left,
    )
