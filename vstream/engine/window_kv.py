"""WindowKV: blocks with keys and values in, [prefix | local window] as the next chunk sees it out.

Between two steps of the window nothing moves that stands before a new block, so its keys are
rotated once and written behind the others. Only a step lays the window anew: then what is left of
it is rotated to its new place, from keys before RoPE as always.

Source: the ring of StreamingLLM (https://arxiv.org/abs/2309.17453, section 3.2), which rotates the
whole cache for every token. Differs in that positions count from a left edge that stands still for
a step.
"""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from vstream.engine.attention import attention_mass, causal_attention
from vstream.engine.decoder import Decoder
from vstream.engine.layout import Placed, lay_out

LayerKV = list[tuple[Tensor, Tensor]]
"""Keys (before RoPE) and values of each layer, both [kv_heads, tokens, head_dim]."""

Mass = Mapping[int, Float[Tensor, "layers kv_heads tokens"]]
"""By the id of a block: the attention that each of its tokens got, summed over queries and over the
heads of a group.
"""
_SPARE = 0.25
"""Of the room that is needed, so much is taken in addition when a buffer grows."""


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
        """Write [prefix | window] anew; `values` are its values by layer."""
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
        self._rope = decoder.rope
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
        rotated = self._rope.rotate(torch.cat([queries, keys]), self._positions[:, end - tokens :])
        laid_keys[:, end - tokens : end] = rotated[len(queries) :]
        laid_values[:, end - tokens : end] = values
        if self._counts:
            start, paid = end - tokens, []
            for part in rotated[: len(queries)].split(list(self._counts), dim=1):
                start += part.shape[1]
                paid.append(attention_mass(part, laid_keys[:, :start], scale))
            self.mass.append(paid)
        return causal_attention(
            rotated[: len(queries)], laid_keys[:, :end], laid_values[:, :end], scale
        )
