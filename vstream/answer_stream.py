"""AnswerStream: an answer's tokens in as they are decoded, pieces of text and an Answer out."""

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
    """A question that has been prefilled over what it may see."""

    prefilled: PrefilledQuestion
    basis: Basis
    recent_ids: Sequence[int]
    evidence: tuple[Evidence, ...]
    looked: Stretch | None = None
    context_tokens: int = 0


@dataclass(frozen=True)
class Afterwards:
    """Known once the last word is said: where it looked, and why it means nothing, if so."""

    spans: tuple[CitedSpan, ...]
    strange: str | None


@dataclass(frozen=True)
class TokenEvent:
    """How probable it was, whether the answer ends with it, and its `time.perf_counter`."""

    token: int
    probability: float
    is_last: bool
    at: float


TokenEvents = SimpleQueue[Reading | TokenEvent | None]
"""What the device's thread tells of one answer; None is its end."""


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
        """Known before the first word: what the answer is computed from, best score first."""
        self.looked = reading.looked
        """Known as early: where the words of the question made it look."""
        self.retrieved = reading.prefilled.retrieved
        """The retrieved block ids of every layer, the recent window left out."""
        self._retrieve_ms = 1000 * reading.prefilled.retrieve_s
        self.recent_ids = reading.recent_ids
        """Those of the recent window, the same in all layers."""

    def __iter__(self) -> Iterator[str]:
        return self._pieces

    def cancel(self) -> bool:
        """Decode no more of it; whether anything was left. From any thread, repeatedly."""
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
        known = self._job.result()  # raises what ended the answer, if it did not end by itself
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
            timings_ms=Timings(
                self._since_asked(first), self._since_asked(last), self._retrieve_ms
            ),
            truncated=not is_whole,
            confidence=basis.trusted(confidence),
            looked=self.looked,
            context_tokens=self._context_tokens,
        )

    @property
    def answer(self) -> Answer:
        """The whole answer; waits for what is left of it if the stream was not read to its end."""
        for _ in self._pieces:
            pass
        assert self._answer is not None, "the stream of the answer was closed before its end"
        return self._answer

    def _since_asked(self, at: float) -> float:
        return ((at or time.perf_counter()) - self._asked) * 1000
