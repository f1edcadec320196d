"""AnswerContext: the keys and values that a question and its answer attend to, layer by layer."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from memory import MemoryReader
from vstream.engine.decoder import Decoder
from vstream.engine.positions import Placed, lay_out, text_positions
from vstream.engine.prefill import LayerKV
from vstream.errors import QuestionError


@dataclass(frozen=True, eq=False)
class LaidLayer:
    """What one layer of a context holds, keys rotated; both [kv_heads, tokens, head_dim].

    Prefix and recent window are `shared` by all who ask the same stream at the same time.
    """

    keys: Tensor
    values: Tensor
    next_text: int
    """Position of the next token."""
    room: int
    """Tokens that are still to come at most."""
    num_prefix: int
    recent: tuple[int, int]
    """From which slot on, and up to which one, the recent window lies."""

    @property
    def num_laid(self) -> int:
        """Tokens of prefix and blocks; behind them stands text."""
        return self.recent[1]

    @property
    def num_shared(self) -> int:
        return self.num_prefix + self.recent[1] - self.recent[0]

    def shared(self) -> tuple[Tensor, Tensor]:
        """Keys and values of prefix and recent window."""
        start, end = self.recent
        keys, values = (
            torch.cat([one[:, : self.num_prefix], one[:, start:end]], dim=1)
            for one in (self.keys, self.values)
        )
        return keys, values

    def own(self) -> tuple[Tensor, Tensor]:
        """Keys and values of retrieved blocks and text."""
        start, end = self.recent
        keys, values = (
            torch.cat([one[:, self.num_prefix : start], one[:, end:]], dim=1)
            for one in (self.keys, self.values)
        )
        return keys, values


class AnswerContext:
    """[prefix | retrieved blocks in stream order | recent window | question | answer so far].

    Before the blocks may stand tokens that were read again for this question alone.

    Blocks come as the codec keeps them, the recent window too, so the answer does not depend on
    the tier or process that holds them. Positions are contiguous in every layer by itself: layers
    may hold blocks of different lengths. Keys are rotated once, when a layer is laid out.
    """

    def __init__(self, decoder: Decoder, prefix: LayerKV, memory: MemoryReader, room: int) -> None:
        """`room`: tokens of question and answer that must fit behind the blocks."""
        self._decoder = decoder
        self.prefix = prefix
        self._memory = memory
        self._room = room
        self._keys: list[Tensor] = []
        self._values: list[Tensor] = []
        self._filled: list[int] = []
        self._next_text: list[int] = []
        self._recent: list[tuple[int, int]] = []
        self._again: Sequence[Placed] = ()
        self._again_kv: LayerKV = []
        self.recent_ids: tuple[int, ...] = ()
        """Blocks of the recent window, the same in every layer."""

    @property
    def num_tokens(self) -> int:
        """Tokens that the first layer holds."""
        return self._filled[0]

    def laid(self, layer: int) -> LaidLayer:
        """What `layer` holds."""
        keys, values, filled = self._keys[layer], self._values[layer], self._filled[layer]
        return LaidLayer(
            keys[:, :filled],
            values[:, :filled],
            next_text=self._next_text[layer],
            room=keys.shape[1] - filled,
            num_prefix=self.prefix[layer][0].shape[1],
            recent=self._recent[layer],
        )

    def begin_with(self, tokens: Sequence[Placed], kv: LayerKV) -> None:
        """Let visual tokens stand right behind the prefix, keys before RoPE."""
        self._again, self._again_kv = tokens, kv

    def clear(self) -> None:
        """As if nothing had been laid."""
        for one in (self._keys, self._values, self._filled, self._next_text, self._recent):
            one.clear()

    def let_go(self) -> None:
        """Keys and values are kept elsewhere from now on: nothing can attend to them here."""
        self._keys, self._values = [], []

    def lay(self, layer: int, retrieved: Sequence[int], recent: Sequence[int] = ()) -> None:
        """Put prefix and blocks in place for `layer`; layers come in order. So do the blocks.

        Raises QuestionError where `room` more tokens would leave the decoder's positions.
        """
        decoder = self._decoder
        keys, values = self.prefix[layer]
        block_ids = [*retrieved, *recent]
        infos = [self._memory.info(block_id) for block_id in block_ids]
        layout = lay_out(keys.shape[1], [*self._again, *infos], decoder.num_axes)
        if layout.next_text + self._room > decoder.max_positions:
            raise QuestionError(
                f"the question is too long: with the memory's {layout.next_text} positions and the "
                f"answer it needs {layout.next_text + self._room}, the model has "
                f"{decoder.max_positions}. Ask shorter or retrieve fewer blocks."
            )
        if self._again:
            again_keys, again_values = self._again_kv[layer]
            keys = torch.cat([keys, again_keys], dim=1)
            values = torch.cat([values, again_values], dim=1)
        if block_ids:
            block_keys, block_values = self._memory.read(
                layer, block_ids, decoder.dtype, decoder.device
            )
            keys = torch.cat([keys, block_keys], dim=1)
            values = torch.cat([values, block_values], dim=1)
        rotated = decoder.rope.rotate(keys, layout.positions.to(keys.device))
        empty = keys.new_empty(keys.shape[0], self._room, keys.shape[2])
        self._keys.append(torch.cat([rotated, empty], dim=1))
        self._values.append(torch.cat([values, empty], dim=1))
        self._filled.append(keys.shape[1])
        self._next_text.append(layout.next_text)
        recent_tokens = sum(info.num_tokens for info in infos[len(retrieved) :])
        self._recent.append((keys.shape[1] - recent_tokens, keys.shape[1]))
        self.recent_ids = tuple(recent)

    def attend(
        self, layer: int, queries: Tensor, keys: Tensor, values: Tensor, scale: float
    ) -> Tensor:
        """Append text to `layer` and let it attend to all before it. A decode step is just this."""
        decoder, start, tokens = self._decoder, self._next_text[layer], keys.shape[1]
        positions = text_positions(start, tokens, decoder.num_axes, keys.device)
        rotated = decoder.rope.rotate(torch.cat([queries, keys]), positions)
        self.append(layer, rotated[len(queries) :], values)
        return self.look(layer, queries, rotated[: len(queries)], scale)

    def append(self, layer: int, rotated: Tensor, values: Tensor) -> None:
        """Take in text whose keys are `rotated` to the next positions already."""
        filled, tokens = self._filled[layer], values.shape[1]
        self._keys[layer][:, filled : filled + tokens] = rotated
        self._values[layer][:, filled : filled + tokens] = values
        self._filled[layer] += tokens
        self._next_text[layer] += tokens

    def look(self, layer: int, queries: Tensor, rotated: Tensor, scale: float) -> Tensor:
        """Let the queries of the newest tokens, `rotated`, attend to all of `layer` before them."""
        end = self._filled[layer]
        keys, values = self._keys[layer][:, :end], self._values[layer][:, :end]
        return self._decoder.attend_causally(rotated, keys, values, scale)
