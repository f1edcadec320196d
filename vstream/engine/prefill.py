"""Prefill: visual tokens of a stream in, KV blocks out, through a local window that slides.

The decoder sees [prefix | local window | chunk], token-causal, positions contiguous from 0. The
window's left edge moves in steps of `window_stride` blocks counted from the start of the stream,
never in between, and a chunk never crosses such a step. Block n therefore sees the same blocks at
the same distances however the stream is cut into chunks, and so has the same keys and values.

Source: attention sinks and positions inside the cache as in StreamingLLM
(https://arxiv.org/abs/2309.17453, section 3.2); the block-wise encoding is ReKV's
(https://arxiv.org/abs/2503.00540, section 3.1). Differs from both: the window moves in steps of
blocks, not token by token, and the prefix keeps its place in front of it instead of one fixed
distance. `vstream.engine.rekv` has ReKV's own rule.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from encoders import TextTokens
from memory.policy_hooks import Tokens
from vstream.engine.decoder import Decoder, PlainStep
from vstream.engine.layout import Placed, text_positions
from vstream.engine.passes import Pass, Work, alone
from vstream.engine.window_kv import LayerKV, Mass, WindowKV


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
            _joined_deepstack(chunk),
        )
        layers = split_by_block(step.captured, chunk)
        self._seen.put(self.num_blocks, chunk, layers)
        self.mass = self._seen.mass_by_block(step.mass, len(chunk))
        self.num_blocks += len(chunk)
        return layers, hidden


def prefix_kv(decoder: Decoder, prefix: TextTokens) -> LayerKV:
    """What stands before the first block, from position 0 on."""
    tokens = len(prefix.embeddings)
    step = PlainStep(decoder.rope, text_positions(0, tokens, decoder.num_axes, decoder.device))
    decoder.forward(prefix.embeddings, step)
    return step.captured


def _joined_deepstack(chunk: Sequence[Tokens]) -> Tensor | None:
    parts = [block.deepstack for block in chunk if block.deepstack is not None]
    return torch.cat(parts, dim=1) if parts else None


def split_by_block(captured: LayerKV, chunk: Sequence[Placed]) -> list[LayerKV]:
    """Cut the keys and values of a chunk into those of its blocks."""
    counts = [block.positions.shape[1] for block in chunk]
    layers = [
        (torch.split(keys, counts, dim=1), torch.split(values, counts, dim=1))
        for keys, values in captured
    ]
    return [[(keys[i], values[i]) for keys, values in layers] for i in range(len(chunk))]
