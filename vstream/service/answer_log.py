"""AnswerLog: answers in, a file of what was asked and answered out, without what is forgotten.

An entry rests on moments: the blocks that were read, and the moment that was asked about. It goes
whole with any of them.
"""

import json
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from math import inf
from pathlib import Path
from typing import Any

import structlog

from memory import LineFile, StoreError
from memory.closing import Closing
from memory.locks import Rank, ranked_lock
from vstream.service.inquiry import StreamAnswer

_log = structlog.get_logger()
MOST = 10_000
"""So many entries are kept, the newest ones."""
_FORGOTTEN = 256
"""So many deletions are known to answers that were under way meanwhile."""
Entry = dict[str, Any]


class AnswerLog(Closing):
    """Of any thread. Answers are given also where they cannot be written down."""

    def __init__(self, path: Path) -> None:
        """Go on with the file. Raises StoreError."""
        self._lines = LineFile(path, MOST)
        self._lock = ranked_lock(Rank.ANSWER_LINES)
        self._oldest: dict[str, float] = {}
        """By stream, the oldest moment that an entry rests on."""
        self._forgotten: deque[tuple[float, str, float, float]] = deque(maxlen=_FORGOTTEN)
        """When, of which stream, and which stretch."""
        for entry in _entries(self._lines.read()):
            self._count(entry)

    def add(self, entry_id: int, model: str, told: StreamAnswer) -> None:
        """`entry_id` is higher than that of the last one."""
        entry = _entry(entry_id, model, told)
        with self._lock:
            if any(
                told.as_of <= at and _rests_on(entry, of, from_s, to_s)
                for at, of, from_s, to_s in self._forgotten
            ):
                return
            try:
                self._lines.append([json.dumps(entry)])
                self._count(entry)
            except StoreError as error:
                _log.error("answer not logged", stream=told.stream_id, reason=str(error))

    def forget(self, stream_id: str, from_s: float, to_s: float) -> None:
        """What rests on a moment of [from_s, to_s] of that stream."""
        with self._lock:
            is_retention = from_s == -inf and to_s < inf
            if not is_retention:
                self._forgotten.append((time.time(), stream_id, from_s, to_s))
            if self._oldest.get(stream_id, inf) > to_s:
                return
            self._oldest.pop(stream_id, None)
            try:
                self._lines.rewrite(lambda line: self._left(line, stream_id, from_s, to_s))
            except StoreError as error:
                _log.error("answers not forgotten", stream=stream_id, reason=str(error))

    def newest(self, is_wanted: Callable[[Entry], bool]) -> Iterator[Entry]:
        """Those that are wanted, newest first. Raises StoreError."""
        with self._lock:
            lines = self._lines.read()
        return (entry for entry in _entries(reversed(lines)) if is_wanted(entry))

    def close(self) -> None:
        self._lines.close()

    def _count(self, entry: Entry) -> None:
        oldest = min(begin for begin, _ in _moments(entry))
        stream_id = entry["stream_id"]
        self._oldest[stream_id] = min(self._oldest.get(stream_id, inf), oldest)

    def _left(self, line: str, stream_id: str, from_s: float, to_s: float) -> str | None:
        for entry in _entries([line]):
            if _rests_on(entry, stream_id, from_s, to_s):
                return None
            if entry["stream_id"] == stream_id:
                self._count(entry)
            return line
        return None


def _entry(entry_id: int, model: str, told: StreamAnswer) -> Entry:
    answer = told.answer
    return {
        "id": entry_id,
        "at": told.as_of,
        "stream_id": told.stream_id,
        "question": answer.question.text,
        "answer": answer.text,
        "at_s": answer.asked_at_s,
        "evidence": [[one.start_s, one.end_s] for one in answer.evidence],
        "spans": [[one.from_s, one.to_s] for one in answer.spans],
        "model": model,
        "confidence": answer.confidence,
        "unsure": answer.is_unsure,
        "unsure_because": answer.unsure_because,
        "ttft_ms": answer.timings_ms.ttft,
        "total_ms": answer.timings_ms.total,
    }


def _moments(entry: Entry) -> list[list[float]]:
    return [*entry["evidence"], *entry["spans"], [entry["at_s"]] * 2]


def _rests_on(entry: Entry, stream_id: str, from_s: float, to_s: float) -> bool:
    return entry["stream_id"] == stream_id and any(
        begin_s <= to_s and end_s >= from_s for begin_s, end_s in _moments(entry)
    )


def _entries(lines: Iterable[str]) -> Iterator[Entry]:
    """Those that are understood: of a line that was cut short nobody knows."""
    for line in lines:
        try:
            entry = json.loads(line)
            _moments(entry)
        except (KeyError, TypeError, ValueError):
            continue
        yield entry
