"""RecordedQuestions: replays a question's pass from a recording; returns its last token's logits.

A decoder of 28 layers takes longer to launch a short question's thousand kernels than to run them.
So the pass is recorded once for each of a few lengths, over buffers that never move, and cut in
every layer where blocks are retrieved and laid out (`recording`). Questions are padded to the
length with tokens that nobody sees: they stand behind the question, where attention is causal.

What a layer has laid out is copied into one buffer, which all layers and lengths use in turn. How
far it is filled, and where the text stands, are tensors by layer, because layers may hold different
numbers of tokens. The text attends to the buffer and to itself in two parts, joined by their
log-sum-exp (`partial_attention`).
"""

from collections.abc import Sequence

import structlog
import torch
from jaxtyping import Float
from torch import Tensor

from vstream.engine.answer_context import AnswerContext
from vstream.engine.cuda.partial_attention import attend_to_part, joined
from vstream.engine.cuda.recording import Cut, Record, Replay, record_graphs, run_anew
from vstream.engine.cuda.row_buffers import roomy
from vstream.engine.decoder import Decoder, Step
from vstream.engine.question_prefill import QuestionStep
from vstream.engine.retrieval import summed_by_group

_log = structlog.get_logger()
LENGTHS = (16, 32, 64)
"""Tokens of text. Longer texts take the plain path: the scores of all pairs take memory."""


class RecordedQuestions:
    """One per device. `question` is the fast path for a question's pass over an AnswerContext."""

    def __init__(
        self, decoder: Decoder, lengths: tuple[int, ...] = LENGTHS, record: Record | None = None
    ) -> None:
        """`record` defaults to CUDA graphs on a GPU, and to no recording elsewhere."""
        self._decoder = decoder
        self._lengths = sorted(lengths)
        self._record = record or (record_graphs if decoder.device.type == "cuda" else run_anew)
        self._laid = _LaidBuffer(decoder, 0)
        self._recorded: dict[tuple[int, tuple[int, ...]], tuple[_QuestionPass, Replay]] = {}
        """By length, and by the layers whose queries are collected. Nothing else holds a pass and
        its recording together, so both are freed with their entry.
        """

    @torch.inference_mode()
    def question(
        self, step: Step, embeddings: Float[Tensor, "tokens d_model"]
    ) -> Float[Tensor, "1 vocabulary"] | None:
        """Return the last token's logits; `step` is left as the plain pass leaves it. None if the
        context has rules of its own, or the text is long. Raises what the plain pass raises.

        The first question takes the plain path, and so does one whose context is longer than any
        before: they show how much to hold. The next one of each length waits for its recording.
        """
        if not isinstance(step, QuestionStep) or type(step.context) is not AnswerContext:
            return None
        if len(embeddings) > max(self._lengths, default=0):
            return None
        try:
            if self._laid.num_slots:
                return self._replayed(step, embeddings)
        except _ReadPlainlyError:
            step.begin_again()
        logits = self._decoder.logits(self._decoder.forward(embeddings, step)[-1:])
        self._hold(max(step.context.laid(i).recent[1] for i in range(self._decoder.num_layers)))
        return logits

    def _replayed(self, step: QuestionStep, embeddings: Tensor) -> Tensor:
        length = next(one for one in self._lengths if one >= len(embeddings))
        words = step.context.words
        key = length, () if words is None else tuple(words.layers)
        if key not in self._recorded:
            made = _QuestionPass(self._decoder, self._laid, *key)
            try:
                replay = self._record(made.compute, self._decoder.device)
            except RuntimeError as error:  # out of memory too
                self._give_up()
                raise _ReadPlainlyError from error
            self._recorded[key] = made, replay
        made, replay = self._recorded[key]
        return made.run(replay, step, embeddings)

    def _give_up(self) -> None:
        _log.warning("questions are not replayed as CUDA graphs", exc_info=True)
        self._record, self._lengths = run_anew, []
        self._recorded.clear()
        self._laid = _LaidBuffer(self._decoder, 0)

    def _hold(self, slots: int) -> None:
        if not self._lengths or slots <= self._laid.num_slots:
            return
        slots = roomy(slots, self._laid.num_slots)
        self._recorded.clear()  # they would go on reading the old buffer
        self._laid = _LaidBuffer(self._decoder, 0)  # free it first: there may be no room for two
        try:
            self._laid = _LaidBuffer(self._decoder, slots)
        except torch.OutOfMemoryError:
            self._give_up()


class _ReadPlainlyError(Exception):
    """A layer has laid out more than the buffer holds, or nothing can be recorded."""


class _LaidBuffer:
    def __init__(self, decoder: Decoder, num_slots: int) -> None:
        self.num_slots = num_slots
        shape = (decoder.kv_heads, num_slots, decoder.head_dim)
        self.keys, self.values = (
            torch.zeros(shape, dtype=decoder.dtype, device=decoder.device) for _ in range(2)
        )

    def put(self, keys: Tensor, values: Tensor) -> None:
        """Write them and zero the rest, which must be numbers, but not another stream's."""
        filled = keys.shape[1]
        for buffer, own in ((self.keys, keys), (self.values, values)):
            buffer[:, :filled] = own
            buffer[:, filled:] = 0


class _QuestionPass:
    """A pass over questions of up to `length` tokens, in buffers that never move."""

    def __init__(
        self, decoder: Decoder, laid: _LaidBuffer, length: int, collected: Sequence[int]
    ) -> None:
        """It collects the last token's queries in the layers `collected`."""
        self._decoder = decoder
        self._laid = laid
        device, layers = decoder.device, decoder.num_layers
        self._embeddings = torch.zeros(length, decoder.d_model, dtype=decoder.dtype, device=device)
        self._weights = torch.zeros(length, device=device)
        self._last = torch.zeros(1, dtype=torch.long, device=device)
        self._filled, self._next_text = (
            torch.zeros(layers, dtype=torch.long, device=device) for _ in range(2)
        )
        self._tokens = torch.arange(length, device=device)
        self._slots = torch.arange(laid.num_slots, device=device)
        self._is_before = self._tokens <= self._tokens[:, None]
        self._text: list[tuple[Tensor, Tensor]] = []
        self._collected = frozenset(collected)
        self._queries: dict[int, Tensor] = {}
        self._step: QuestionStep | None = None
        self._cut: Cut | None = None

    def run(self, replay: Replay, step: QuestionStep, embeddings: Tensor) -> Tensor:
        """Run a question through `replay`, its recording; its text is in the context afterwards.
        Raises _ReadPlainlyError if a layer does not fit.
        """
        tokens = len(embeddings)
        self._embeddings[:tokens] = embeddings
        self._embeddings[tokens:] = embeddings[-1]
        self._weights[:tokens] = step.is_question / step.is_question.sum()
        self._weights[tokens:] = 0
        self._last.fill_(tokens - 1)
        self._step = step
        try:
            logits = replay().clone()
        finally:
            self._step = None
        for layer, (keys, values) in enumerate(self._text):
            step.context.laid(layer).append(keys[:, :tokens], values[:, :tokens])
        if step.context.words is not None:
            for layer, queries in self._queries.items():
                step.context.words.take(layer, queries.clone())
        return logits

    def compute(self, cut: Cut) -> Float[Tensor, "1 vocabulary"]:
        self._cut, self._text = cut, []
        try:
            hidden = self._decoder.forward(self._embeddings, self)
            return self._decoder.logits(hidden[self._last])
        finally:
            self._cut = None

    def attend(
        self, layer: int, queries: Tensor, keys: Tensor, values: Tensor, scale: float
    ) -> Tensor:
        decoder, laid = self._decoder, self._laid
        if layer in self._collected:
            self._queries[layer] = queries[:, self._last].squeeze(1) * scale
        query = summed_by_group((queries.float() * self._weights[:, None]).sum(dim=1), len(keys))
        assert self._cut is not None
        self._cut(lambda: self._lay(layer, query))
        positions = (self._next_text[layer] + self._tokens).expand(decoder.num_axes, -1)
        rotated = decoder.rope.rotate(torch.cat([queries, keys]), positions)
        own_keys = rotated[len(queries) :].clone()  # a view would keep the queries too
        self._text.append((own_keys, values))
        grouped = rotated[: len(queries)].unflatten(0, (len(keys), -1))
        rows = grouped.flatten(1, 2)
        is_before = self._is_before.repeat(grouped.shape[1], 1)
        is_laid = self._slots < self._filled[layer]
        output = joined(
            [
                attend_to_part(rows, laid.keys, laid.values, is_laid, scale),
                attend_to_part(rows, own_keys, values, is_before, scale),
            ]
        )
        by_head: Tensor = output.unflatten(1, grouped.shape[1:3])
        return by_head.flatten(0, 1)

    def _lay(self, layer: int, query: Tensor) -> None:
        assert self._step is not None
        self._step.lay(layer, query.clone())
        found = self._step.context.laid(layer)
        if found.keys.shape[1] > self._laid.num_slots:
            raise _ReadPlainlyError
        self._laid.put(found.keys, found.values)
        self._filled[layer].fill_(found.keys.shape[1])
        self._next_text[layer].fill_(found.next_text)
