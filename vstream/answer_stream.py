"""AnswerStream: turns tokens into text as they are decoded, and ends with an Answer."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from queue import SimpleQueue

from vstream.decoding.token_choice import TokenChoice
from vstream.device.work import Job
from vstream.engine.question_prefill import PrefilledQuestion
from vstream.question import Answer, Basis, CitedSpan, Evidence, Question, Stretch, Timings
from vstream.strange_pictures import with_warning


@dataclass(frozen=True, eq=False)
class Reading:
    """A prefilled question and what it may see."""

    prefilled: PrefilledQuestion
    basis: Basis
    recent_ids: Sequence[int]
    evidence: tuple[Evidence, ...]
    looked: Stretch | None = None
    context_tokens: int = 0


@dataclass(frozen=True)
class Afterwards:
    """Known after the last token: the spans looked at, and any warning about strange pictures."""

    spans: tuple[CitedSpan, ...]
    strange: str | None


@dataclass(frozen=True)
class TokenEvent:
    """A token, its probability, whether it ends the answer, and when (`time.perf_counter`)."""

    token: int
    probability: float
    is_last: bool
    at: float


TokenEvents = SimpleQueue[Reading | TokenEvent | None]
"""What the device's thread reports of one answer; None ends it."""


class AnswerStream:
    """An answer being decoded: iterate it for pieces of text, then read `answer`."""

    def __init__(
        self,
        question: Question,
        reading: Reading,
        events: TokenEvents,
        job: Job[Afterwards],
        asked: float,
        choice: TokenChoice,
    ) -> None:
        self._question = question
        self._basis = reading.basis
        self._context_tokens = reading.context_tokens
        self._events = events
        self._job = job
        self._asked = asked
        self._choice = choice
        self._pieces = self._decode_text()
        self._answer: Answer | None = None
        self.evidence = reading.evidence
        """The blocks that the answer is computed from, best first; known before its first token."""
        self.looked = reading.looked
        """The stretch that the question's words name; known as early."""
        self.retrieved = reading.prefilled.retrieved
        """Retrieved block ids of every layer, without the recent window."""
        self._retrievals = reading.prefilled.retrievals
        self.recent_ids = reading.recent_ids
        """Block ids of the recent window, the same in all layers."""

    def __iter__(self) -> Iterator[str]:
        return self._pieces

    def cancel(self) -> bool:
        """Stop decoding; return whether anything was left. From any thread, any number of times."""
        return self._job.cancel()

    def _tokens(self) -> Iterator[TokenEvent]:
        while isinstance(event := self._events.get(), TokenEvent):
            yield event

    def _decode_text(self) -> Iterator[str]:
        ids: list[int] = []
        shown = ""
        first = last = 0.0
        confidence, is_whole = 1.0, False
        for event in self._tokens():
            first, last = first or event.at, event.at
            confidence, is_whole = min(confidence, event.probability), event.is_last
            if self._choice.is_stop(event.token):
                continue
            ids.append(event.token)
            text = self._choice.shown(ids)
            if len(text) > len(shown):
                yield text[len(shown) :]
                shown = text
        known = self._job.result()  # raises the error that ended the answer, if one did
        whole = self._choice.text(ids)
        if len(whole) > len(shown):
            yield whole[len(shown) :]
        basis, at_s = replace(self._basis, strange=known.strange), self._question.at_s
        if basis.strange is not None and not self._question.decoding.is_structured:
            added = with_warning(whole, basis.strange)[len(whole) :]
            yield added
            whole += added
        self._answer = Answer(
            **vars(basis),
            question=self._question,
            text=whole,
            token_ids=tuple(ids),
            asked_at_s=basis.newest_frame_s if at_s is None else at_s,
            evidence=self.evidence,
            spans=known.spans,
            timings_ms=self._timings(first, last),
            truncated=not is_whole,
            confidence=basis.trusted(confidence),
            looked=self.looked,
            context_tokens=self._context_tokens,
        )

    @property
    def answer(self) -> Answer:
        """The whole answer; waits for the rest if the stream was not read to its end."""
        for _ in self._pieces:
            pass
        assert self._answer is not None, "the stream of the answer was closed before its end"
        return self._answer

    def _timings(self, first: float, last: float) -> Timings:
        spent = self._retrievals
        return Timings(
            self._since_asked(first),
            self._since_asked(last),
            1000 * sum(ended - began for began, ended in spent),
            asked_at=time.time() - (time.perf_counter() - self._asked),
            retrieved=(self._since_asked(spent[0][0]), self._since_asked(spent[-1][1])),
        )

    def _since_asked(self, at: float) -> float:
        return ((at or time.perf_counter()) - self._asked) * 1000
