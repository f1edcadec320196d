"""WindowKV: blocks with keys and values in, [prefix | local window] as the next chunk sees it out.

Between two steps of the window nothing moves that stands before a new block, so its keys are
rotated once and written behind the others. Only a step lays the window anew: then what is left of
it is rotated to its new place, from keys before RoPE as always.

Source: the ring of StreamingLLM (https://arxiv.org/abs/2309.17453, section 3.2), which rotates the
whole cache for every token. Differs in that positions count from a left edge that stands still for
a step.
"""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from encoders import VisualTokens
from vstream.engine.attention import causal_attention
from vstream.engine.decoder import Decoder
from vstream.engine.layout import Placed, lay_out

LayerKV = list[tuple[Tensor, Tensor]]
"""Keys (before RoPE) and values of each layer, both [kv_heads, tokens, head_dim]."""

_SPARE = 0.25
"""Of the room that is needed, so much is taken in addition when a buffer grows."""


@dataclass(frozen=True, eq=False)
class _Block:
    """A block of the window. Its keys and values are views of those of its chunk."""

    id: int
    placed: Placed
    kv: LayerKV


class WindowKV:
    """What one stream's next chunk sees; room for the chunk behind it."""

    def __init__(self, decoder: Decoder, prefix: LayerKV) -> None:
        self._decoder = decoder
        self._prefix = prefix
        self._blocks: list[_Block] = []
        self._buffers: LayerKV = []
        self._lay()

    @property
    def ids(self) -> list[int]:
        """Of the blocks in it."""
        return [block.id for block in self._blocks]

    def put(self, first_id: int, chunk: Sequence[Placed], layers: Sequence[LayerKV]) -> None:
        """Keep what `step` has seen of `chunk`, whose ids begin at `first_id`: it is in place."""
        self._blocks += [
            _Block(first_id + i, placed, kv)
            for i, (placed, kv) in enumerate(zip(chunk, layers, strict=True))
        ]

    def restore(
        self, ids: Sequence[int], blocks: Sequence[Placed], layers: Sequence[LayerKV]
    ) -> None:
        """Begin with these blocks."""
        self._blocks = [_Block(*one) for one in zip(ids, blocks, layers, strict=True)]
        self._lay()

    def drop_before(self, left_edge: int) -> None:
        """Forget blocks with smaller ids; the others move up."""
        outside = bisect_left(self._blocks, left_edge, key=lambda block: block.id)
        if outside:
            del self._blocks[:outside]
            self._lay()

    def step(self, chunk: Sequence[VisualTokens]) -> "WindowStep":
        """The step of a pass over `chunk`. What it writes counts once `put` says so."""
        before = [block.placed for block in self._blocks]
        prefix_tokens = self._prefix[0][0].shape[1]
        layout = lay_out(prefix_tokens, [*before, *chunk], self._decoder.num_axes)
        self._make_room(layout.positions.shape[1])
        return WindowStep(self._decoder, self._buffers, layout.positions)

    @torch.inference_mode()
    def _lay(self) -> None:
        """Write [prefix | blocks] anew."""
        decoder = self._decoder
        placed = [block.placed for block in self._blocks]
        positions = lay_out(self._prefix[0][0].shape[1], placed, decoder.num_axes).positions
        positions = positions.to(decoder.device)
        tokens = positions.shape[1]
        self._make_room(tokens)
        for layer, (laid_keys, laid_values) in enumerate(self._buffers):
            parts = [self._prefix[layer], *(block.kv[layer] for block in self._blocks)]
            keys = torch.cat([keys for keys, _ in parts], dim=1)
            laid_keys[:, :tokens] = decoder.rope.rotate(keys, positions)
            torch.cat([values for _, values in parts], dim=1, out=laid_values[:, :tokens])

    @torch.inference_mode()
    def _make_room(self, tokens: int) -> None:
        if self._buffers and self._buffers[0][0].shape[1] >= tokens:
            return
        room = tokens + int(_SPARE * tokens)
        grown = []
        for layer, (keys, values) in enumerate(self._prefix):
            buffers = (
                keys.new_empty(keys.shape[0], room, keys.shape[2]),
                values.new_empty(values.shape[0], room, values.shape[2]),
            )
            if self._buffers:
                for new, old in zip(buffers, self._buffers[layer], strict=True):
                    new[:, : old.shape[1]] = old
            grown.append(buffers)
        self._buffers = grown


class WindowStep:
    """Attend to all that is past and, causally, to the chunk; capture the chunk's keys, values."""

    def __init__(self, decoder: Decoder, buffers: LayerKV, positions: Tensor) -> None:
        self._rope = decoder.rope
        self._buffers = buffers
        self._positions = positions.to(decoder.device)
        self.captured: LayerKV = []

    def attend(
        self, layer: int, queries: Tensor, keys: Tensor, values: Tensor, scale: float
    ) -> Tensor:
        self.captured.append((keys, values))
        laid_keys, laid_values = self._buffers[layer]
        tokens, end = queries.shape[1], self._positions.shape[1]
        rotated = self._rope.rotate(torch.cat([queries, keys]), self._positions[:, end - tokens :])
        laid_keys[:, end - tokens : end] = rotated[len(queries) :]
        laid_values[:, end - tokens : end] = values
        return causal_attention(
            rotated[: len(queries)], laid_keys[:, :end], laid_values[:, :end], scale
        )
