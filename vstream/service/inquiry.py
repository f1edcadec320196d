"""Inquiry: asks one question about one or several streams, and joins their answers in order.

Each stream is asked by itself, and the answers are decoded in one batch; the result is one answer
with a line for each stream. So no keys and values of different streams ever stand in one context,
and every citation names its stream.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial

from vstream.answer_stream import AnswerStream
from vstream.question import Answer, Question
from vstream.service.streams import Askable, Streams


@dataclass(frozen=True)
class AnswerPiece:
    """A piece of text of an answer, and the stream it is about."""

    stream_id: str
    text: str


@dataclass(frozen=True)
class StreamAnswer:
    """One stream's answer, and when its newest frame was captured."""

    stream_id: str
    answer: Answer
    as_of: float
    newest_frame_at: float | None
    began_at: float
    """When it was asked, by the monotonic clock."""
    is_passing: bool = False
    """Whether the stream was there for this answer alone."""

    @property
    def newest_frame_age_s(self) -> float | None:
        """Seconds from the newest frame that it could see to when it was asked."""
        return None if self.newest_frame_at is None else max(0.0, self.as_of - self.newest_frame_at)


class Inquiry:
    """Starts when it is made; read `pieces`, then `answers`."""

    def __init__(
        self,
        streams: Streams,
        questions: Sequence[tuple[str, Question]],
        passing: Mapping[str, Askable] | None = None,
    ) -> None:
        """`questions` are stream ids, each with its question. `passing` are streams that no list
        has; they go with the answers. Raises UnknownStreamError, QuestionError, BusyError,
        StoreError; then none has been asked.
        """
        self.asked_at, self.began_at = time.time(), time.monotonic()
        self._passing = frozenset(passing or ())
        self._answering: list[tuple[str, AnswerStream, float | None]] = []
        with ExitStack() as undo:
            for stream_id, question in questions:
                ask = partial(_ask, question)
                own = (passing or {}).get(stream_id)
                answering = streams.ask(stream_id, ask) if own is None else ask(own)
                undo.callback(answering.cancel)
                seen_at = None if own else _newest_at(streams, stream_id, question, answering)
                self._answering.append((stream_id, answering, seen_at))
            undo.pop_all()
        self.pieces = self._pieces()

    def _pieces(self) -> Iterator[AnswerPiece]:
        for number, (stream_id, answering, _) in enumerate(self._answering):
            if len(self._answering) > 1:
                yield AnswerPiece(stream_id, ("\n" if number else "") + f"{stream_id}: ")
            for text in answering:
                yield AnswerPiece(stream_id, text)

    def cancel(self) -> bool:
        """Stop decoding, as nobody listens; return whether anything was left to decode."""
        were_running = [answering.cancel() for _, answering, _ in self._answering]
        return any(were_running)

    @property
    def answers(self) -> list[StreamAnswer]:
        """Wait for what is left of the answers, and return them."""
        return [
            StreamAnswer(
                stream_id,
                answering.answer,
                self.asked_at,
                seen_at,
                self.began_at,
                stream_id in self._passing,
            )
            for stream_id, answering, seen_at in self._answering
        ]


def _ask(question: Question, stream: Askable) -> AnswerStream:
    """Let a question about now see what is there when it is asked, however long it waits."""
    if question.at_s is None and stream.memory.num_readable:
        question = replace(question, at_s=stream.memory.newest_s)
    return stream.ask(question)


def _newest_at(
    streams: Streams, stream_id: str, question: Question, answering: AnswerStream
) -> float | None:
    """Return when the newest frame that the answer could see was captured. A picture that has not
    changed is not encoded again, so a question about now has seen the newest frame of the source,
    whatever block shows it. None for a recording, which has no age.
    """
    keeper = streams.find(stream_id)
    frame = None if keeper is None else keeper.newest_frame
    newest = max(answering.evidence, key=lambda one: one.end_s, default=None)
    if newest is None or (keeper is not None and keeper.spec.is_recording):
        return None
    if question.at_s is None and frame is not None:
        return max(newest.captured_at, frame.captured_at)
    return newest.captured_at
