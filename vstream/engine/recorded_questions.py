"""RecordedQuestions: a question's pass in, its last token's logits out, replayed from a recording.

A decoder of 28 layers takes longer to start a short question's thousand kernels than to run them.
So its pass is recorded once for each of a few lengths, over buffers that never move, cut in every
layer where the blocks are retrieved and laid (`recording`). Questions are filled up to the length
with tokens that nobody sees: they stand behind the question, where attention is causal.

One layer's keys and values have a buffer that all layers and lengths use, one after the other. How
far it is filled, and where the text stands, is a tensor layer by layer, because layers may hold
different numbers of tokens.
"""

from typing import TypeGuard

import structlog
import torch
from jaxtyping import Float
from torch import Tensor

from vstream.engine.answer_context import AnswerContext
from vstream.engine.attention import Step, grouped_attention
from vstream.engine.decoder import Decoder
from vstream.engine.question_step import QuestionStep
from vstream.engine.recording import Cut, Record, Replay, not_recorded, record_graphs
from vstream.engine.retrieval import summed_by_group
from vstream.engine.row_buffers import roomy

_log = structlog.get_logger()
LENGTHS = (32, 64, 128, 256)
"""Tokens of text. Longer ones go the plain path, which then computes more than it starts."""


class RecordedQuestions:
    """One for a device. `run` is the fast path of one question's pass over an AnswerContext."""

    def __init__(
        self, decoder: Decoder, lengths: tuple[int, ...] = LENGTHS, record: Record | None = None
    ) -> None:
        """`record` is how a pass is recorded: unless given as graphs on a card, elsewhere not."""
        self._decoder = decoder
        self._lengths = lengths
        self._record = record or (record_graphs if decoder.device.type == "cuda" else not_recorded)
        self._laid = _LaidBuffer(decoder, 0)
        self._passes: dict[int, _QuestionPass] = {}

    @property
    def is_recorded(self) -> bool:
        """Whether passes are replayed: on a card, unless it could not record one."""
        return self._record is not not_recorded and bool(self._passes)

    def takes(self, step: Step, num_tokens: int) -> TypeGuard[QuestionStep]:
        """Whether `run` can do it: not where the context has rules of its own, or is too long."""
        return (
            isinstance(step, QuestionStep)
            and type(step.context) is AnswerContext
            and num_tokens <= max(self._lengths, default=0)
        )

    @torch.inference_mode()
    def run(
        self, step: QuestionStep, embeddings: Float[Tensor, "tokens d_model"]
    ) -> Float[Tensor, "1 vocabulary"]:
        """Logits of the last token; `step` is left as the plain pass leaves it. Raises what it
        raises.
        """
        length = next(one for one in self._lengths if one >= len(embeddings))
        if self._laid.num_slots < length:
            self._grow(length)
        while True:
            try:
                return self._pass(length).run(step, embeddings)
            except _NoRoomError as error:
                step.begin_again()
                self._grow(error.slots)

    def _pass(self, length: int) -> "_QuestionPass":
        if length not in self._passes:
            made = _QuestionPass(self._decoder, self._laid, length)
            try:
                made.replay = self._record(made, self._decoder.device)
            except RuntimeError as error:
                _log.warning("questions are not recorded as CUDA graphs", reason=str(error))
                self._record, self._lengths = not_recorded, ()  # the plain path is as fast
                made.replay = self._record(made, self._decoder.device)
            self._passes[length] = made
        return self._passes[length]

    def _grow(self, slots: int) -> None:
        """For a layer that holds so much."""
        slots = roomy(slots, self._laid.num_slots)
        self._passes.clear()  # they would go on reading the buffer before
        self._laid = _LaidBuffer(self._decoder, 0)  # which is let go first: there may be no room
        self._laid = _LaidBuffer(self._decoder, slots)


class _NoRoomError(Exception):
    """A layer holds more than the buffer."""

    def __init__(self, slots: int) -> None:
        super().__init__(slots)
        self.slots = slots


class _LaidBuffer:
    """Keys and values of one layer's context, with the text behind it."""

    def __init__(self, decoder: Decoder, num_slots: int) -> None:
        self.num_slots = num_slots
        self.keys, self.values = (
            torch.zeros(
                decoder.kv_heads,
                num_slots,
                decoder.head_dim,
                dtype=decoder.dtype,
                device=decoder.device,
            )
            for _ in range(2)
        )


class _QuestionPass:
    """The pass of questions of up to `length` tokens, over buffers that never move."""

    def __init__(self, decoder: Decoder, laid: _LaidBuffer, length: int) -> None:
        self._decoder = decoder
        self._laid = laid
        self._length = length
        device, layers = decoder.device, decoder.num_layers
        self._embeddings = torch.zeros(length, decoder.d_model, dtype=decoder.dtype, device=device)
        self._shares = torch.zeros(length, device=device)
        """What each token has in the mean over the question's own words."""
        self._last = torch.zeros(1, dtype=torch.long, device=device)
        self._filled, self._next_text = (
            torch.zeros(layers, dtype=torch.long, device=device) for _ in range(2)
        )
        self._tokens = torch.arange(length, device=device)
        self._slots = torch.arange(laid.num_slots, device=device)
        self._cut: Cut = lambda between: None
        self._text: list[tuple[Tensor, Tensor]] = []
        """Rotated keys, and values, of the text in every layer."""
        self._step: QuestionStep | None = None
        self.replay: Replay = lambda: self._embeddings

    def run(self, step: QuestionStep, embeddings: Tensor) -> Tensor:
        """Raises _NoRoomError where a layer does not fit."""
        tokens = len(embeddings)
        self._embeddings.zero_()
        self._embeddings[:tokens] = embeddings
        self._shares.zero_()
        self._shares[:tokens] = step.is_question / step.is_question.sum()
        self._last.fill_(tokens - 1)
        self._step = step
        try:
            logits = self.replay().clone()
        finally:
            self._step = None
        for layer, (keys, values) in enumerate(self._text):
            step.context.append(layer, keys[:, :tokens], values[:, :tokens])
        return logits

    def __call__(self, cut: Cut) -> Float[Tensor, "1 vocabulary"]:
        """What is recorded."""
        self._cut, self._text = cut, []
        hidden = self._decoder.forward(self._embeddings, self)
        return self._decoder.logits(hidden[self._last])

    def attend(
        self, layer: int, queries: Tensor, keys: Tensor, values: Tensor, scale: float
    ) -> Tensor:
        """In `layer`, once its context is laid."""
        decoder, laid = self._decoder, self._laid
        mean = (queries.float() * self._shares[:, None]).sum(dim=1)
        query = summed_by_group(mean, len(keys))
        self._cut(lambda: self._lay(layer, query))
        positions = (self._next_text[layer] + self._tokens).expand(decoder.num_axes, self._length)
        rotated = decoder.rope.rotate(torch.cat([queries, keys]), positions)
        own = self._filled[layer] + self._tokens
        self._text.append((rotated[len(queries) :], values))
        laid.keys[:, own] = rotated[len(queries) :]
        laid.values[:, own] = values
        is_seen = self._slots <= own[:, None]
        return grouped_attention(rotated[: len(queries)], laid.keys, laid.values, scale, is_seen)

    def _lay(self, layer: int, query: Tensor) -> None:
        assert self._step is not None
        self._step.lay(layer, query.clone())
        found = self._step.context.laid(layer)
        filled = found.keys.shape[1]
        if filled + self._length > self._laid.num_slots:
            raise _NoRoomError(filled + self._length)
        self._laid.keys[:, :filled] = found.keys
        self._laid.values[:, :filled] = found.values
        self._filled[layer].fill_(filled)
        self._next_text[layer].fill_(found.next_text)
