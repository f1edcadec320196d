"""BackgroundResponses: answers questions for clients that follow now or come back later.

The last thousand responses are kept for an hour: in this process within a bound of bytes, and in
the store for any process if that is a Redis. When a process ends, another one finishes its
background responses.
"""

import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import CancelledError
from functools import partial
from math import inf
from typing import Any

import structlog

from app.server.answering import Answering
from app.server.api_errors import ApiError, api_error
from app.server.chat_documents import Usage, evidence_of, usage_of
from app.server.documents import link_citations
from app.server.keys import Action, Caller
from app.server.response_record import (
    DELTA,
    ENDED,
    IS_RESPONSE,
    ResponseRecord,
    message_of,
    response_document,
)
from app.server.sent_events import OtherAnswerError
from memory import FencedError, RedisTasks, StoreError
from memory.locks import Rank, ranked_lock
from vstream.device.asker import Asker
from vstream.errors import VStreamError
from vstream.service.event import EventKind
from vstream.service.event_log import EventLog
from vstream.service.inquiry import Inquiry, StreamAnswer

_log = structlog.get_logger()
KEPT_S = 3600.0
MOST_KEPT = 1000
_MOST_KEPT_BYTES = 256 << 20
_HOLD_S = 1.0
_LOST = ApiError(503, "the worker that answered is gone, and no other can continue", "worker_lost")
Ask = Callable[[], Inquiry]
Finish = Callable[[Inquiry], list[StreamAnswer]]
Resume = Callable[[ResponseRecord], tuple[Ask, Finish]]


class BackgroundResponses:
    """Runs and keeps responses. Safe from any thread."""

    def __init__(
        self, events: EventLog, answering: Answering, tasks: RedisTasks | None = None
    ) -> None:
        """A background response holds its asker's place in `answering` until it ends. `tasks`, if
        given, keeps them all.
        """
        self._events = events
        self._answering = answering
        self._tasks = tasks
        self._kept: dict[str, ResponseRecord] = {}
        self._lock = ranked_lock(Rank.RESPONSES)
        self._threads: set[threading.Thread] = set()
        self._owed: set[str] = set()
        """Streams whose responses in the store could not be forgotten yet."""
        self._stop = threading.Event()
        self._holding: threading.Thread | None = None

    def go_on(self, resume: Resume) -> None:
        """From now on continue what other processes leave; `resume` says how."""
        if self._tasks is not None:
            self._holding = threading.Thread(
                target=self._hold_on, args=(self._tasks, resume), name="responses", daemon=True
            )
            self._holding.start()

    def begin(self, record: ResponseRecord, ask: Ask, finish: Finish) -> None:
        """Start to answer in a thread of its own: `ask` puts the question, `finish` takes the
        outcome. A background response goes on when nobody waits for it.
        """
        if self._tasks is not None and record.is_kept:
            try:
                self._tasks.begin(record.id, record.lines(0)[0])
                record.num_noted = 1
            except StoreError as error:
                _log.warning("response not kept yet", reason=str(error))
        self._start(record, ask, finish)

    def _start(self, record: ResponseRecord, ask: Ask, finish: Finish) -> None:
        thread = threading.Thread(target=self._answer, args=(record, ask, finish), daemon=True)
        with self._lock:
            self._forget_old()
            self._make_room()
            self._kept[record.id] = record
            self._threads.add(thread)
        _say(record, "response.created", response=response_document(record))
        record.asker.is_awaited = not record.background
        thread.start()

    def get(self, response_id: str, caller: Caller) -> ResponseRecord:
        """Raises ApiError if there is none, it belongs to somebody else, or it holds an answer
        about a stream that the caller may no longer see; StoreError.
        """
        found = self.find(response_id)
        if found is None or found.owner != caller.name or not _may_see(caller, found):
            raise ApiError(404, f"there is no response {response_id}", "response_not_found")
        return found

    def find(self, response_id: str) -> ResponseRecord | None:
        """Return the response of any owner; none if it is damaged. Raises StoreError."""
        if not IS_RESPONSE.fullmatch(response_id):
            return None
        with self._lock:
            self._forget_old()
        tasks, found = self._tasks, self._kept.get(response_id)
        if found is not None or tasks is None or not (lines := tasks.lines(response_id)):
            return found
        if (record := _read(response_id, lines)) is None:
            return None
        record.refresh = lambda: record.take(tasks.lines(response_id, record.num_noted))
        return record

    def cancel(self, response_id: str, caller: Caller) -> None:
        """Stop work on it, so that it ends shortly; one that has ended stays as it is. Raises
        ApiError, StoreError.
        """
        found = self.get(response_id, caller)
        found.asker.leave()
        if self._tasks is not None and found.refresh is not None and found.status not in ENDED:
            self._tasks.stop(response_id)

    def forget(self, record: ResponseRecord) -> None:
        """Raises StoreError."""
        record.is_kept = False
        if self._tasks is not None:
            self._tasks.forget(record.id)
        self._drop(record)

    def forget_stretch(self, stream_id: str, from_s: float, to_s: float) -> None:
        """Forget all responses about a stream of which a stretch is forgotten, and those that
        continue one, in every process; if the store is away, as soon as it is back.
        """
        if from_s == -inf and to_s < inf:  # its retention: responses live an hour at most
            return
        self._owed.add(stream_id)
        self._settle()

    def _settle(self) -> None:
        """Forget what is owed."""
        for stream_id in list(self._owed):
            self._owed.discard(stream_id)
            try:
                for record in _about(stream_id, self._all()):
                    self.forget(record)
            except StoreError as error:
                _log.warning("responses not forgotten yet", stream=stream_id, reason=str(error))
                self._owed.add(stream_id)

    def _all(self) -> list[ResponseRecord]:
        """Return the responses kept in this process and in the store. Raises StoreError."""
        with self._lock:
            found = dict(self._kept)
        if self._tasks is not None:
            for response_id in self._tasks.all() - found.keys():
                if lines := self._tasks.lines(response_id):
                    record = _read(response_id, lines)
                    found.update({} if record is None else {response_id: record})
        return list(found.values())

    def close(self, until: float) -> None:
        """Close it. Responses that still run at `until`, in `time.monotonic` seconds, are left to
        another process, or cancelled if none could continue them.
        """
        with self._lock:
            running, threads = list(self._kept.values()), list(self._threads)
        for thread in threads:
            thread.join(timeout=max(0.0, until - time.monotonic()))
        self._stop.set()
        if self._holding is not None:
            self._holding.join()
        for one in running:
            one.is_left = self._tasks is not None and one.can_go_on
            one.asker.leave()
        for thread in threads:
            thread.join(timeout=5)
        if self._tasks is not None:
            self._tasks.close()

    def _answer(self, record: ResponseRecord, ask: Ask, finish: Finish) -> None:
        try:
            _say_all(record, ask, finish, partial(self._note, record))
        except CancelledError:
            if not record.is_left:
                _end(record, "cancelled")
        except OtherAnswerError:
            _fail(record, _LOST)
        except Exception as error:  # noqa: BLE001  reported to those who look it up
            _fail(record, api_error(error))
        finally:
            if record.background:
                self._answering.end(record.asker)
            with self._lock:
                self._threads.discard(threading.current_thread())
            if not record.is_kept:
                self._drop(record)
            self._note(record)
            if record.status in ENDED:
                ended = {"response_id": record.id, "status": record.status}
                self._events.publish(EventKind.RESPONSE_DONE, None, ended, owner=record.owner)

    def _note(self, record: ResponseRecord) -> None:
        """Store what is new of it, for other processes. A foreground response is stored only once
        it has ended: nobody looks it up before.
        """
        is_over = record.status in ENDED
        if self._tasks is None or not record.is_kept or not (record.background or is_over):
            return None
        try:
            if record.is_left:
                return self._tasks.let_go(record.id)
            with record.changed:
                lines = record.lines(record.num_noted)
            self._tasks.append(record.id, record.num_noted, lines, is_over=is_over)
            record.num_noted += len(lines)
            if is_over:
                self._drop(record)
        except FencedError:
            self._leave(record)
        except StoreError as error:
            _log.warning("response not kept yet", reason=str(error))
        return None

    def _leave(self, record: ResponseRecord) -> None:
        """Leave it to the process that has taken it."""
        record.is_left = True
        record.asker.leave()
        self._drop(record)

    def _drop(self, record: ResponseRecord) -> None:
        with self._lock:
            self._kept.pop(record.id, None)

    def _hold_on(self, tasks: RedisTasks, resume: Resume) -> None:
        while not self._stop.wait(_HOLD_S):
            self._settle()
            try:
                self._hold(tasks)
                for response_id, lines in tasks.take().items():
                    if (record := _read(response_id, lines)) is None:
                        tasks.forget(response_id)
                    else:
                        self._take(record, resume)
            except StoreError as error:
                _log.warning("responses cannot be held", reason=str(error))

    def _hold(self, tasks: RedisTasks) -> None:
        """Renew the hold on running responses, and stop or leave those that it lost. Raises
        StoreError.
        """
        with self._lock:
            kept = dict(self._kept)
        for record in kept.values():
            if record.status in ENDED:
                self._note(record)
        running = [name for name, one in kept.items() if one.status not in ENDED and one.is_kept]
        stopped, taken = tasks.hold(running)
        for response_id in taken:
            self._leave(kept[response_id])
        for response_id in stopped:
            kept[response_id].asker.leave()

    def _take(self, record: ResponseRecord, resume: Resume) -> None:
        """Continue a response whose process is gone. If no place is free here, some process tries
        again in a few seconds.
        """
        try:
            if not record.can_go_on:
                _fail(record, _LOST)
                return self._note(record)
            ask, finish = resume(record)
            record.asker = self._answering.take(record.asker.holder)
        except (ApiError, VStreamError) as error:
            _log.warning("response not taken yet", response=record.id, reason=str(error))
            return None
        record.begin_again()
        self._start(record, ask, finish)
        return None

    def _forget_old(self) -> None:
        """Drop responses that ended long ago."""
        now = time.time()
        for one in list(self._kept.values()):
            if one.ended_at and now - one.ended_at > KEPT_S:
                del self._kept[one.id]

    def _make_room(self) -> None:
        """Make room for one more: the oldest ended responses go."""
        kept_bytes = sum(one.num_bytes for one in self._kept.values())
        for one in [one for one in self._kept.values() if one.ended_at]:
            if len(self._kept) < MOST_KEPT and kept_bytes <= _MOST_KEPT_BYTES:
                break
            kept_bytes -= one.num_bytes
            del self._kept[one.id]


def _may_see(caller: Caller, record: ResponseRecord) -> bool:
    seen = (caller.may(Action.READ, stream_id) for stream_id in record.stream_ids)
    return not record.text or all(seen)


def _about(stream_id: str, records: Collection[ResponseRecord]) -> Iterator[ResponseRecord]:
    """Yield those about the stream, and those whose dialogue holds one of them."""
    gone: set[str | None] = set()

    def goes(one: ResponseRecord) -> bool:
        return stream_id in one.stream_ids or one.previous in gone

    while found := [one for one in records if one.id not in gone and goes(one)]:
        gone.update(one.id for one in found)
        yield from found


def _read(response_id: str, lines: Sequence[bytes]) -> ResponseRecord | None:
    """Return the response in `lines`; log a damaged one, and return None."""
    try:
        return ResponseRecord.of_lines(lines, Asker())
    except ValueError as error:
        _log.warning("response damaged", response=response_id, reason=str(error))
        return None


def _say_all(record: ResponseRecord, ask: Ask, finish: Finish, on_said: Callable[[], None]) -> None:
    inquiry = ask()
    with record.changed:
        record.status = "in_progress"
    _say(record, "response.in_progress", response=response_document(record))
    item = {**message_of(record, "in_progress"), "content": []}
    _say(record, "response.output_item.added", output_index=0, item=item)
    part = {"type": "output_text", "text": "", "annotations": []}
    _say(record, "response.content_part.added", **record.place, part=part)
    on_said()
    spans: dict[str, tuple[int, int]] = {}
    for piece in inquiry.pieces:
        start, _ = spans.get(piece.stream_id, (len(record.text), 0))
        record.text += piece.text
        spans[piece.stream_id] = (start, len(record.text))
        _say(record, DELTA, **record.place, delta=piece.text, logprobs=[])
        on_said()
    found = finish(inquiry)
    record.annotations = [
        cited.model_dump()
        for one in found
        for cited in link_citations(one, spans.get(one.stream_id, (0, 0)))
    ]
    record.usage = _usage(usage_of(found))
    record.evidence = [one.document() for one in evidence_of(found, record.request.tools_ignored)]
    for number, one in enumerate(record.annotations):
        kind = "response.output_text.annotation.added"
        _say(record, kind, **record.place, annotation_index=number, annotation=one)
    _say(record, "response.output_text.done", **record.place, text=record.text, logprobs=[])
    message = message_of(record, "completed")
    _say(record, "response.content_part.done", **record.place, part=message["content"][0])
    _say(record, "response.output_item.done", output_index=0, item=message)
    truncated = any(one.answer.truncated for one in found)
    _end(record, "incomplete" if truncated else "completed")


def _usage(counts: Usage) -> dict[str, Any]:
    return {
        "input_tokens": counts.prompt_tokens,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": counts.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": counts.total_tokens,
    }


def _say(record: ResponseRecord, kind: str, **content: Any) -> None:
    with record.changed:
        record.say(kind, **content)


def _end(record: ResponseRecord, status: str) -> None:
    with record.changed:
        record.end(status)


def _fail(record: ResponseRecord, error: ApiError) -> None:
    detail = error.detail
    record.error = {"code": detail.code or "server_error", "message": detail.message}
    _end(record, "failed")
