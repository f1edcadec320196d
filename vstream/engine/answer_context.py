"""AnswerContext: the keys and values that a question and its answer attend to, layer by layer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from jaxtyping import Float
from torch import Tensor

from memory import MemoryReader
from memory.policy_hooks import NOTHING, Context
from vstream.engine.decoder import Decoder
from vstream.engine.positions import lay_out, text_positions
from vstream.engine.prefill import LayerKV, standing_prefix
from vstream.errors import QuestionError


@dataclass(eq=False)
class LaidLayer:
    """One layer of a context. Concurrent questions to a stream share prefix and recent window."""

    buffers: tuple[Tensor, Tensor]
    """Rotated keys and values, [kv_heads, tokens, head_dim], with spare room at the end."""
    positions: Tensor
    """Positions of what was laid out, [axes, tokens]; text follows it."""
    filled: int
    next_text: int
    num_prefix: int
    recent: tuple[int, int]
    """The first slot of the recent window, and the slot after its last; text follows there."""
    blocks: Mapping[int, int]
    """The token count of each block by id, in the order in which the blocks lie before the text."""

    @property
    def keys(self) -> Tensor:
        return self.buffers[0][:, : self.filled]

    @property
    def values(self) -> Tensor:
        return self.buffers[1][:, : self.filled]

    @property
    def room(self) -> int:
        """Tokens that still fit."""
        return self.buffers[0].shape[1] - self.filled

    @property
    def num_shared(self) -> int:
        return self.num_prefix + self.recent[1] - self.recent[0]

    def shared(self) -> tuple[Tensor, Tensor]:
        """Return keys and values of prefix and recent window."""
        return self._joined(slice(self.num_prefix), slice(*self.recent))

    def own(self) -> tuple[Tensor, Tensor]:
        """Return keys and values of retrieved blocks and text."""
        start, end = self.recent
        return self._joined(slice(self.num_prefix, start), slice(end, None))

    def append(self, rotated: Tensor, values: Tensor) -> None:
        """Append text whose keys are already `rotated` to the next positions."""
        tokens = values.shape[1]
        for buffer, new in zip(self.buffers, (rotated, values), strict=True):
            buffer[:, self.filled : self.filled + tokens] = new
        self.filled += tokens
        self.next_text += tokens

    def _joined(self, first: slice, second: slice) -> tuple[Tensor, Tensor]:
        keys, values = self.keys, self.values
        return (
            torch.cat([keys[:, first], keys[:, second]], dim=1),
            torch.cat([values[:, first], values[:, second]], dim=1),
        )


class Sight(NamedTuple):
    """Keys of one layer that an answer's tokens look at; `blocks` lie before slot `end`."""

    keys: Float[Tensor, "kv_heads tokens head_dim"]
    blocks: Mapping[int, int]
    end: int
    distance: int | None = None
    """The one distance from which all keys are seen; None: from the token's own position."""


class Words(Protocol):
    """Collects the queries from which an answer's words are chosen."""

    layers: Sequence[int]

    def take(self, layer: int, queries: Float[Tensor, "heads head_dim"]) -> None: ...


class AnswerContext:
    """[prefix | retrieved blocks in stream order | recent window | question | answer so far].

    Before the blocks may stand tokens that were encoded again for this question alone.

    Blocks come as the codec keeps them, the recent window too, so the answer does not depend on the
    tier or process that holds them. Each layer has contiguous positions of its own, because layers
    may hold blocks of different lengths. Keys are rotated once, when a layer is laid out.
    """

    def __init__(
        self,
        decoder: Decoder,
        prefix: LayerKV,
        memory: MemoryReader,
        room: int,
        sinks: int | None = None,
        window_blocks: int = 0,
    ) -> None:
        """`room` is how many tokens of question and answer must fit behind the blocks. With
        `sinks`, only that many prefix tokens stay once there are `window_blocks` blocks.
        """
        self._decoder = decoder
        self.prefix = prefix
        self._memory = memory
        self._room = room
        self._sinks, self._window_blocks = sinks, window_blocks
        self._layers: list[LaidLayer] = []
        self._again = NOTHING
        self._again_kv: LayerKV = []
        self.recent_ids: tuple[int, ...] = ()
        """Blocks of the recent window, the same in every layer."""
        self.words: Words | None = None
        """Receives the queries of each pass's last token, before RoPE and scaled."""

    @property
    def num_tokens(self) -> int:
        return self._layers[0].filled

    def laid(self, layer: int) -> LaidLayer:
        return self._layers[layer]

    def begin_with(self, again: Context, kv: LayerKV) -> None:
        """Put the visual tokens of `again` right behind the prefix; the keys are before RoPE."""
        self._again, self._again_kv = again, kv

    def clear(self) -> None:
        """Drop everything laid out: it is laid out again, or kept elsewhere from now on."""
        self._layers = []

    def lay(self, layer: int, retrieved: Sequence[int], recent: Sequence[int] = ()) -> None:
        """Lay out prefix and blocks for `layer`. Call it layer by layer, with blocks in stream
        order. Raises QuestionError if `room` more tokens would exceed the decoder's positions.
        """
        decoder, again = self._decoder, self._again
        block_ids = [*retrieved, *recent]
        free = max(0, self._window_blocks - len(block_ids))
        [prefix] = standing_prefix([self.prefix[layer]], self._sinks, free)
        num_prefix = prefix[0].shape[1]
        infos = [self._memory.info(block_id) for block_id in block_ids]
        positions, next_text = lay_out(num_prefix, [*again.tokens, *infos], decoder.num_axes)
        if again.text_from is not None:
            next_text = num_prefix + again.text_from
        if next_text + self._room > decoder.max_positions:
            raise QuestionError(
                f"the question is too long: with the memory's {next_text} positions and the answer "
                f"it needs {next_text + self._room}, the model has {decoder.max_positions}. Ask "
                "shorter or retrieve fewer blocks."
            )
        parts = [prefix]
        if again.tokens:
            parts.append(self._again_kv[layer])
        if block_ids:
            parts.append(self._memory.read(layer, block_ids, decoder.dtype, decoder.device))
        keys, values = (torch.cat(part, dim=1) for part in zip(*parts, strict=True))
        positions = positions.to(keys.device)
        rotated = decoder.rope.rotate(keys, positions)
        empty = keys.new_empty(keys.shape[0], self._room, keys.shape[2])
        filled = keys.shape[1]
        recent_tokens = sum(info.num_tokens for info in infos[len(retrieved) :])
        self._layers.append(
            LaidLayer(
                (torch.cat([rotated, empty], dim=1), torch.cat([values, empty], dim=1)),
                positions,
                filled,
                next_text,
                num_prefix,
                recent=(filled - recent_tokens, filled),
                blocks={i: info.num_tokens for i, info in zip(block_ids, infos, strict=True)},
            )
        )
        self.recent_ids = tuple(recent)

    def sights(self, layer: int) -> list[Sight]:
        """Return what the tokens still to come look at in `layer`."""
        laid = self._layers[layer]
        return [Sight(laid.keys, laid.blocks, laid.recent[1])]

    def sought(self, queries: Float[Tensor, "heads tokens head_dim"]) -> Tensor | None:
        """Return what to retrieve blocks by, if not the mean query of the question's own words."""
        return None

    def attend(
        self, layer: int, queries: Tensor, keys: Tensor, values: Tensor, scale: float
    ) -> Tensor:
        """Append text to `layer` and let it attend to all before it. A decode step does no more."""
        if self.words is not None and layer in self.words.layers:
            self.words.take(layer, queries[:, -1] * scale)
        decoder, laid = self._decoder, self._layers[layer]
        positions = text_positions(laid.next_text, keys.shape[1], decoder.num_axes, keys.device)
        rotated = decoder.rope.rotate(torch.cat([queries, keys]), positions)
        laid.append(rotated[len(queries) :], values)
        return self.look(layer, queries, rotated[: len(queries)], scale)

    def look(self, layer: int, queries: Tensor, rotated: Tensor, scale: float) -> Tensor:
        """Let the newest tokens' queries, also given `rotated`, attend to all before them."""
        laid = self._layers[layer]
        return self._decoder.attend_causally(rotated, laid.keys, laid.values, scale)
