"""AnswerLog: logs questions and their answers as lines, without what is forgotten.

An entry depends on moments: the blocks that were read, and the moment of the question. Forgetting
any of them deletes the whole entry.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import structlog

from memory import LineFile, LineLog, StoreError, tier_of
from memory.closing import Closing
from memory.locks import Rank, ranked_lock
from vstream.service.inquiry import StreamAnswer
from vstream.service.just_forgotten import JustForgotten
from vstream.service.stream_lines import StreamLines

_log = structlog.get_logger()
MOST = 10_000
"""How many entries are kept, the newest ones."""


@dataclass(frozen=True)
class LoggedAnswer:
    """One entry. Times that end in `_s` are stream time, `at` is in seconds since the epoch."""

    id: int
    """Later answers have higher ids."""
    at: float
    stream_id: str
    question: str
    answer: str
    at_s: float
    """The moment that the question was about."""
    evidence: tuple[tuple[float, float], ...]
    """Start and end of each block that was read."""
    spans: tuple[tuple[float, float], ...]
    """The parts of the stream that the answer's words attended to."""
    model: str
    confidence: float
    unsure: bool
    unsure_because: str | None
    ttft_ms: float
    total_ms: float

    @classmethod
    def from_answer(cls, id_: int, model: str, answered: StreamAnswer) -> Self:
        answer = answered.answer
        return cls(
            id=id_,
            at=answered.as_of,
            stream_id=answered.stream_id,
            question=answer.question.text,
            answer=answer.text,
            at_s=answer.asked_at_s,
            evidence=tuple((one.start_s, one.end_s) for one in answer.evidence),
            spans=tuple((one.from_s, one.to_s) for one in answer.spans),
            model=model,
            confidence=answer.confidence,
            unsure=answer.is_unsure,
            unsure_because=answer.unsure_because,
            ttft_ms=answer.timings_ms.ttft,
            total_ms=answer.timings_ms.total,
        )

    @property
    def line(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Self:
        """Read a parsed `line`. Raises KeyError, TypeError, ValueError for anything else."""
        spans = {
            name: tuple((float(begin), float(end)) for begin, end in document[name])
            for name in ("evidence", "spans")
        }
        return cls(**{**document, **spans})

    @property
    def oldest_s(self) -> float:
        return min(begin_s for begin_s, _ in self._moments)

    def without(self, stream_id: str, from_s: float, to_s: float) -> Self | None:
        rests = any(begin_s <= to_s and end_s >= from_s for begin_s, end_s in self._moments)
        return None if rests and self.stream_id == stream_id else self

    @property
    def _moments(self) -> tuple[tuple[float, float], ...]:
        return (*self.evidence, *self.spans, (self.at_s, self.at_s))


class AnswerLog(Closing):
    """Safe from any thread. A failure to log never holds up an answer."""

    def __init__(self, lines: LineLog) -> None:
        """Continue `lines`. Raises StoreError."""
        self._lines = StreamLines(lines, LoggedAnswer.of)
        self._lock = ranked_lock(Rank.ANSWER_LOG)
        self._forgotten = JustForgotten()

    def add(self, id_: int, model: str, answered: StreamAnswer) -> None:
        """Log an answer; `id_` is higher than the last entry's."""
        entry = LoggedAnswer.from_answer(id_, model, answered)
        with self._lock:
            if any(entry.without(*one) is None for one in self._forgotten.since(answered.began_at)):
                return
            try:
                self._lines.add([entry])
            except StoreError as error:
                _log.error("answer not logged", stream=answered.stream_id, reason=str(error))

    def forget(self, stream_id: str, from_s: float, to_s: float) -> None:
        """Delete entries that depend on a moment of [from_s, to_s]; see `StreamLines.forget`."""
        with self._lock:
            self._forgotten.add(stream_id, from_s, to_s)
            self._lines.forget(stream_id, from_s, to_s)

    def newest(self, is_wanted: Callable[[LoggedAnswer], bool]) -> Iterator[LoggedAnswer]:
        """Return the wanted entries, newest first. Raises StoreError."""
        return filter(is_wanted, reversed(self._lines.all()))

    def close(self) -> None:
        self._lines.close()


def open_answer_log(path: Path | None, shared: str | None) -> AnswerLog | None:
    """Open the log in that file, which has one writer, or None without a path. Workers of a cluster
    keep it in their `shared` store instead. Raises StoreError.
    """
    if path is None:
        return None
    lines = None if shared is None else tier_of(shared).lines("answers", MOST)
    return AnswerLog(lines or LineFile(path, MOST))
