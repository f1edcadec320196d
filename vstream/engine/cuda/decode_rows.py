"""DecodeRows: decodes one token of every running answer in one step, and returns their logits.

Every answer has a row of buffers that never move, so a step has the same shapes each time. On a GPU
it is recorded once as a CUDA graph and replayed: a decoder of 28 layers is some thousand small
kernels, which take longer to launch than to run.

A row that has no token in a step is parked: it computes along, but neither its length nor its
position moves. Rows in use come first; when one becomes free, the last one moves there, so that few
answers are decoded with few rows.

Source: batches of rows with lengths of their own as in Orca
(https://www.usenix.org/conference/osdi22/presentation/yu, section 4.2). Differs: each question
chooses its own blocks, so rows share only the prefix and the recent window (`shared_windows`).
"""

import weakref
from collections.abc import Iterator, Sequence

import structlog
import torch
from jaxtyping import Float
from torch import Tensor

from vstream.engine.answer_context import AnswerContext, LaidLayer
from vstream.engine.cuda.partial_attention import PartialAttention, attend_to_part, joined
from vstream.engine.cuda.recording import Cut, Record, Replay, record_graphs, run_anew
from vstream.engine.cuda.row_buffers import RowBuffers, roomy
from vstream.engine.cuda.shared_windows import SharedWindows
from vstream.engine.decoder import Decoder, Step

_log = structlog.get_logger()


class DecodeRows:
    """One per device. `decode` is the fast path for passes of one token over AnswerContexts."""

    def __init__(self, decoder: Decoder, most_rows: int = 32, record: Record | None = None) -> None:
        """Answers beyond `most_rows` take the plain path. `record` defaults to graphs on a GPU."""
        self._decoder = decoder
        self._most_rows = most_rows
        self._row_of: weakref.WeakKeyDictionary[AnswerContext, int] = weakref.WeakKeyDictionary()
        self._rows: list[weakref.ref[AnswerContext]] = []
        self._buffers = RowBuffers(decoder, 0, 0)
        self._windows = SharedWindows(decoder)
        self._window_of_row: list[int | None] = []
        self._recorded_windows = self._windows.generation
        self._recorded: dict[tuple[int, tuple[int, ...]], Replay] = {}
        """By number of rows, and by the layers whose queries are collected."""
        self._record = record or (record_graphs if decoder.device.type == "cuda" else run_anew)

    @torch.inference_mode()
    def decode(
        self, steps: Sequence[Step], embeddings: Float[Tensor, "answers d_model"]
    ) -> list[Float[Tensor, "1 vocabulary"] | Exception | None]:
        """Run the next token of each answer through the decoder; return its logits, or its error.

        None is for an answer that must take the plain path: its step has rules of its own, or there
        are too many. A step that gets a row is emptied.
        """
        self._leave_ended()
        replies: list[Tensor | Exception | None] = [None] * len(steps)
        chosen = {
            number: step
            for number, step in enumerate(steps)
            if type(step) is AnswerContext and (step in self._row_of or self._can_take_in(step))
        }
        if not chosen:
            return replies
        try:
            logits = self._step(list(chosen.values()), embeddings[list(chosen)])
        except Exception as error:  # noqa: BLE001  each answer that wanted a token gets it
            outcomes: Sequence[Tensor | Exception] = [error] * len(chosen)
        else:
            outcomes = logits.split(1)
        for number, outcome in zip(chosen, outcomes, strict=True):
            replies[number] = outcome
        return replies

    def _step(
        self, contexts: Sequence[AnswerContext], embeddings: Float[Tensor, "answers d_model"]
    ) -> Float[Tensor, "answers vocabulary"]:
        rows = torch.tensor([self._row_of[one] for one in contexts], device=embeddings.device)
        size = min(1 << (len(self._rows) - 1).bit_length(), self._buffers.num_rows)
        wanted = (one.words.layers for one in contexts if one.words is not None)
        layers = tuple(sorted(set().union(*wanted)))
        run = self._run(size, layers)
        self._buffers.embeddings[rows] = embeddings
        self._buffers.moves.index_fill_(0, rows, 1)
        try:
            logits = run()[rows]
        finally:
            self._buffers.moves.zero_()
        for layer in layers:
            for context, own in zip(contexts, self._buffers.queries[layer, rows], strict=True):
                if context.words is not None and layer in context.words.layers:
                    context.words.take(layer, own)
        return logits

    def _run(self, size: int, layers: tuple[int, ...]) -> Replay:
        """Return a step of the first `size` rows, recorded if need be; that moves no row."""
        if self._recorded_windows != self._windows.generation:
            self._recorded.clear()
            self._recorded_windows = self._windows.generation
        key = size, layers
        if key not in self._recorded:
            step = _RowsStep(self._decoder, self._buffers, self._windows, size, layers)
            try:
                self._recorded[key] = self._record(step.compute, self._decoder.device)
            except RuntimeError:
                _log.warning("decoding is not replayed as a CUDA graph", exc_info=True)
                self._recorded.clear()
                self._record, self._most_rows = run_anew, 0  # the plain path is as fast
                self._recorded[key] = self._record(step.compute, self._decoder.device)
        return self._recorded[key]

    def _can_take_in(self, context: AnswerContext) -> bool:
        if len(self._rows) >= self._most_rows:
            return False
        try:
            self._take_in(context)
        except torch.OutOfMemoryError:
            self._most_rows = len(self._rows)
            _log.warning("no memory for more rows to decode in", rows=self._most_rows)
            return False
        return True

    def _take_in(self, context: AnswerContext) -> None:
        row, layers = len(self._rows), [context.laid(i) for i in range(self._decoder.num_layers)]
        try:
            window = self._windows.join(context.recent_ids, layers)
        except torch.OutOfMemoryError:  # then it is not shared
            window = None
        try:
            self._write(row, layers, window)
        except BaseException:
            if window is not None:
                self._windows.leave(window)
            raise
        context.clear()
        self._rows.append(weakref.ref(context))
        self._window_of_row.append(window)
        self._row_of[context] = row

    def _write(self, row: int, layers: Sequence[LaidLayer], window: int | None) -> None:
        parts = [(one.keys, one.values) if window is None else one.own() for one in layers]
        slots = max(
            keys.shape[1] + laid.room for (keys, _), laid in zip(parts, layers, strict=True)
        )
        if row >= self._buffers.num_rows or slots >= self._buffers.num_slots:
            self._grow(row + 1, slots)
        self._buffers.begin(row, window)
        for layer, ((keys, values), laid) in enumerate(zip(parts, layers, strict=True)):
            self._buffers.write(row, layer, keys, values, laid.next_text)

    def _grow(self, rows: int, slots: int) -> None:
        """Grow by enough that few graphs are ever recorded."""
        before = self._buffers
        rows = max(min(1 << (rows - 1).bit_length(), self._most_rows), before.num_rows)
        # One more than needed at least: a parked row writes too.
        slots = before.num_slots if slots < before.num_slots else roomy(slots, before.num_slots)
        buffers = RowBuffers(self._decoder, rows, slots)
        buffers.copy(before)
        self._recorded.clear()  # they would go on writing into the old buffers
        self._buffers = buffers

    def _leave_ended(self) -> None:
        """Drop answers that nobody holds any more; the last row takes the place of each."""
        for row in reversed(range(len(self._rows))):
            if self._rows[row]() is not None:
                continue
            window = self._window_of_row[row]
            if window is not None:
                self._windows.leave(window)
            last = self._rows.pop()
            last_window = self._window_of_row.pop()
            moved = last()
            if row < len(self._rows):
                self._window_of_row[row] = last_window
                self._buffers.move(len(self._rows), row)
                self._rows[row] = last
                if moved is not None:
                    self._row_of[moved] = row


class _RowsStep:
    """A pass over one token of each of the first `size` rows."""

    def __init__(
        self,
        decoder: Decoder,
        buffers: RowBuffers,
        windows: SharedWindows,
        size: int,
        collected: Sequence[int],
    ) -> None:
        self._decoder = decoder
        self._buffers = buffers
        self._windows = windows
        self._size = size
        self._collected = frozenset(collected)
        self._rows = torch.arange(size, device=decoder.device)
        self._slots = torch.arange(buffers.num_slots, device=decoder.device)

    def compute(self, cut: Cut) -> Float[Tensor, "rows vocabulary"]:
        """Return the rows' logits; there is nothing to cut."""
        decoder = self._decoder
        return decoder.logits(decoder.forward(self._buffers.embeddings[: self._size], self))

    def attend(
        self, layer: int, queries: Tensor, keys: Tensor, values: Tensor, scale: float
    ) -> Tensor:
        """The token axis of `queries`, `keys` and `values` is the row axis here."""
        decoder, buffers, size = self._decoder, self._buffers, self._size
        if layer in self._collected:
            buffers.queries[layer, :size] = queries.transpose(0, 1) * scale
        filled, next_text = buffers.filled[layer, :size], buffers.next_text[layer, :size]
        positions = next_text.expand(decoder.num_axes, size)
        rotated = decoder.rope.rotate(torch.cat([queries, keys]), positions)
        laid_keys, laid_values = buffers.keys[layer, :size], buffers.values[layer, :size]
        laid_keys[self._rows, :, filled] = rotated[len(queries) :].transpose(0, 1)
        laid_values[self._rows, :, filled] = values.transpose(0, 1)
        is_seen = self._slots <= filled[:, None]
        grouped = rotated[: len(queries)].transpose(0, 1).unflatten(1, (len(keys), -1))
        own = attend_to_part(grouped, laid_keys, laid_values, is_seen[:, None, None], scale)
        parts = [own, *self._of_windows(layer, grouped, scale)]
        output = joined(parts)
        filled += buffers.moves[:size]
        next_text += buffers.moves[:size]
        return output.flatten(1, 2).transpose(0, 1)

    def _of_windows(
        self, layer: int, queries: Float[Tensor, "rows kv_heads group head_dim"], scale: float
    ) -> Iterator[PartialAttention]:
        """Let every row attend to every window in one product, and see only its own."""
        windows, rows, group = self._windows, queries.shape[0], queries.shape[2]
        together = queries.transpose(0, 1).flatten(1, 2)
        for number in range(windows.count):
            is_own = self._buffers.window[:rows] == number
            is_seen = is_own[:, None] & windows.is_seen(layer, number)
            part = attend_to_part(
                together,
                windows.keys[layer, number],
                windows.values[layer, number],
                is_seen.repeat_interleave(group, dim=0),
                scale,
            )
            output, lse = (
                one.unflatten(1, (rows, group)).transpose(0, 1) for one in (part.output, part.lse)
            )
            yield PartialAttention(output, lse)
