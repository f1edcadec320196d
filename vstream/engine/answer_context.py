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
    """Of one context; all who ask the same stream at once share prefix and recent window."""

    buffers: tuple[Tensor, Tensor]
    """Rotated keys and values, [kv_heads, tokens, head_dim], with room behind those that are in."""
    positions: Tensor
    """Of what was laid, [axes, tokens]; text stands behind it."""
    filled: int
    next_text: int
    num_prefix: int
    recent: tuple[int, int]
    """From which slot on, and up to which one, the recent window lies; behind it stands text."""
    blocks: Mapping[int, int]
    """How many tokens each block has, by id, in the order in which they lie before that text."""

    @property
    def keys(self) -> Tensor:
        return self.buffers[0][:, : self.filled]

    @property
    def values(self) -> Tensor:
        return self.buffers[1][:, : self.filled]

    @property
    def room(self) -> int:
        """Tokens that are still to come at most."""
        return self.buffers[0].shape[1] - self.filled

    @property
    def num_shared(self) -> int:
        return self.num_prefix + self.recent[1] - self.recent[0]

    def shared(self) -> tuple[Tensor, Tensor]:
        """Keys and values of prefix and recent window."""
        return self._joined(slice(self.num_prefix), slice(*self.recent))

    def own(self) -> tuple[Tensor, Tensor]:
        """Keys and values of retrieved blocks and text."""
        start, end = self.recent
        return self._joined(slice(self.num_prefix, start), slice(end, None))

    def append(self, rotated: Tensor, values: Tensor) -> None:
        """Take in text whose keys are `rotated` to the next positions already."""
        tokens = values.shape[1]
        for buffer, one in zip(self.buffers, (rotated, values), strict=True):
            buffer[:, self.filled : self.filled + tokens] = one
        self.filled += tokens
        self.next_text += tokens

    def _joined(self, first: slice, second: slice) -> tuple[Tensor, Tensor]:
        keys, values = self.keys, self.values
        return (
            torch.cat([keys[:, first], keys[:, second]], dim=1),
            torch.cat([values[:, first], values[:, second]], dim=1),
        )


class Sight(NamedTuple):
    """Keys of one layer that an answer's words look at; `blocks` lie before slot `end`."""

    keys: Float[Tensor, "kv_heads tokens head_dim"]
    blocks: Mapping[int, int]
    end: int
    distance: int | None = None
    """All keys are looked at from one distance; None: from where the word stands."""


class Words(Protocol):
    """What keeps the queries by which an answer's words are chosen."""

    layers: Sequence[int]

    def take(self, layer: int, queries: Float[Tensor, "heads head_dim"]) -> None: ...


class AnswerContext:
    """[prefix | retrieved blocks in stream order | recent window | question | answer so far].

    Before the blocks may stand tokens that were read again for this question alone.

    Blocks come as the codec keeps them, the recent window too, so the answer does not depend on
    the tier or process that holds them. Positions are contiguous in every layer by itself: layers
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
        """`room`: tokens of question and answer that must fit behind the blocks. With `sinks`, of
        the prefix only these stay once there are `window_blocks` blocks.
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
        """Told of the queries of each pass's last token, before RoPE and scaled."""

    @property
    def num_tokens(self) -> int:
        return self._layers[0].filled

    def laid(self, layer: int) -> LaidLayer:
        return self._layers[layer]

    def begin_with(self, again: Context, kv: LayerKV) -> None:
        """Let its visual tokens stand right behind the prefix, keys before RoPE."""
        self._again, self._again_kv = again, kv

    def clear(self) -> None:
        """Let all go that was laid: it is laid again, or kept elsewhere from now on."""
        self._layers = []

    def lay(self, layer: int, retrieved: Sequence[int], recent: Sequence[int] = ()) -> None:
        """Put prefix and blocks in place for `layer`; layers come in order. So do the blocks.
        Raises QuestionError where `room` more tokens would leave the decoder's positions.
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
        """What words behind the last one look at in `layer`."""
        laid = self._layers[layer]
        return [Sight(laid.keys, laid.blocks, laid.recent[1])]

    def sought(self, queries: Float[Tensor, "heads tokens head_dim"]) -> Tensor | None:
        """What blocks are retrieved by if not by the mean query of the question's own words."""
        return None

    def attend(
        self, layer: int, queries: Tensor, keys: Tensor, values: Tensor, scale: float
    ) -> Tensor:
        """Append text to `layer` and let it attend to all before it. A decode step is just this."""
        if self.words is not None and layer in self.words.layers:
            self.words.take(layer, queries[:, -1] * scale)
        decoder, laid = self._decoder, self._layers[layer]
        positions = text_positions(laid.next_text, keys.shape[1], decoder.num_axes, keys.device)
        rotated = decoder.rope.rotate(torch.cat([queries, keys]), positions)
        laid.append(rotated[len(queries) :], values)
        return self.look(layer, queries, rotated[: len(queries)], scale)

    def look(self, layer: int, queries: Tensor, rotated: Tensor, scale: float) -> Tensor:
        """Let the queries of the newest tokens, `rotated`, attend to all of `layer` before them."""
        laid = self._layers[layer]
        return self._decoder.attend_causally(rotated, laid.keys, laid.values, scale)
