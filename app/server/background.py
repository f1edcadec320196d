"""BackgroundResponses: questions in, their answers out for those who come later or listen now.

Kept for an hour and the last thousand: in this process within a bound of bytes, and where the
store is a Redis there, for any process. One that is answered in the background goes on in another
if its own has ended.
"""

import threading
import time
from collections.abc import Callable
from concurrent.futures import CancelledError
from functools import partial
from typing import Any

import structlog

from app.server.answering import Answering
from app.server.api_errors import ApiError, api_error
from app.server.chat_documents import Usage, evidence_of, usage_of
from app.server.documents import link_citations
from app.server.response_record import (
    DELTA,
    ENDED,
    IS_RESPONSE,
    ResponseRecord,
    message_of,
    response_document,
)
from app.server.told import OtherAnswerError
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
_LOST = ApiError(503, "the worker that answered is gone, and no other can go on", "worker_lost")
Ask = Callable[[], Inquiry]
Finish = Callable[[Inquiry], list[StreamAnswer]]
Again = Callable[[ResponseRecord], tuple[Ask, Finish]]


class BackgroundResponses:
    """Runs and keeps responses. May be used from any thread."""

    def __init__(
        self, events: EventLog, answering: Answering, tasks: RedisTasks | None = None
    ) -> None:
        """Those in the background hold the places of their askers in `answering` to their end. All
        are kept in `tasks`, if any.
        """
        self._events = events
        self._answering = answering
        self._tasks = tasks
        self._kept: dict[str, ResponseRecord] = {}
        self._lock = ranked_lock(Rank.RESPONSES)
        self._threads: set[threading.Thread] = set()
        self._stop = threading.Event()
        self._holding: threading.Thread | None = None

    def go_on(self, again: Again) -> None:
        """From now on go on with what other processes have left, as `again` says."""
        if self._tasks is not None:
            self._holding = threading.Thread(
                target=self._hold_on, args=(self._tasks, again), name="responses", daemon=True
            )
            self._holding.start()

    def begin(self, made: ResponseRecord, ask: Ask, finish: Finish) -> None:
        """Begin to answer in a thread of its own: `ask` puts the question, `finish` takes what came
        of it. In the background that goes on if nobody waits any more.
        """
        if self._tasks is not None and made.is_kept:
            try:
                self._tasks.begin(made.id, made.lines(0)[0])
                made.num_noted = 1
            except StoreError as error:
                _log.warning("response not kept yet", reason=str(error))
        self._start(made, ask, finish)

    def _start(self, made: ResponseRecord, ask: Ask, finish: Finish) -> None:
        thread = threading.Thread(target=self._answer, args=(made, ask, finish), daemon=True)
        with self._lock:
            self._forget_old()
            self._make_room()
            self._kept[made.id] = made
            self._threads.add(thread)
        _say(made, "response.created", response=response_document(made))
        made.asker.is_awaited = not made.background
        thread.start()

    def get(self, response_id: str, owner: str) -> ResponseRecord:
        """Raises ApiError if there is none, or it is somebody else's; StoreError."""
        found = self.find(response_id)
        if found is None or found.owner != owner:
            raise ApiError(404, f"there is no response {response_id}", "response_not_found")
        return found

    def find(self, response_id: str) -> ResponseRecord | None:
        """Whoever's it is. Raises StoreError."""
        if not IS_RESPONSE.fullmatch(response_id):
            return None
        with self._lock:
            self._forget_old()
        tasks, found = self._tasks, self._kept.get(response_id)
        if found is not None or tasks is None or not (lines := tasks.lines(response_id)):
            return found
        made = ResponseRecord.of_lines(lines, Asker())
        made.refresh = lambda: made.take(tasks.lines(response_id, made.num_noted))
        return made

    def cancel(self, response_id: str, owner: str) -> None:
        """Do no more for it, so that it ends shortly; one that has ended stays as it is. Raises
        ApiError, StoreError.
        """
        found = self.get(response_id, owner)
        found.asker.leave()
        if self._tasks is not None and found.refresh is not None and found.status not in ENDED:
            self._tasks.stop(response_id)

    def forget(self, made: ResponseRecord) -> None:
        """Raises StoreError."""
        made.is_kept = False
        if self._tasks is not None:
            self._tasks.forget(made.id)
        self._drop(made)

    def close(self, until: float) -> None:
        """Those that still run at `until`, in `time.monotonic` seconds, are left to another process
        or, where none could go on with them, cancelled.
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

    def _answer(self, made: ResponseRecord, ask: Ask, finish: Finish) -> None:
        try:
            _say_all(made, ask, finish, partial(self._note, made))
        except CancelledError:
            if not made.is_left:
                _end(made, "cancelled")
        except OtherAnswerError:
            _fail(made, _LOST)
        except Exception as error:  # noqa: BLE001  told to those who ask after it
            _fail(made, api_error(error))
        finally:
            if made.background:
                self._answering.end(made.asker)
            with self._lock:
                self._threads.discard(threading.current_thread())
            if not made.is_kept:
                self._drop(made)
            self._note(made)
            if made.status in ENDED:
                ended = {"response_id": made.id, "status": made.status}
                self._events.publish(EventKind.RESPONSE_DONE, None, ended, owner=made.owner)

    def _note(self, made: ResponseRecord) -> None:
        """What has been said since, for other processes: of what nobody looks up meanwhile once it
        has ended.
        """
        is_over = made.status in ENDED
        if self._tasks is None or not made.is_kept or not (made.background or is_over):
            return None
        try:
            if made.is_left:
                return self._tasks.let_go(made.id)
            with made.changed:
                lines = made.lines(made.num_noted)
            self._tasks.tell(made.id, made.num_noted, lines, is_over=is_over)
            made.num_noted += len(lines)
            if is_over:
                self._drop(made)
        except FencedError:
            self._leave(made)
        except StoreError as error:
            _log.warning("response not kept yet", reason=str(error))
        return None

    def _leave(self, made: ResponseRecord) -> None:
        """To another process, which has taken it."""
        made.is_left = True
        made.asker.leave()
        self._drop(made)

    def _drop(self, made: ResponseRecord) -> None:
        with self._lock:
            self._kept.pop(made.id, None)

    def _hold_on(self, tasks: RedisTasks, again: Again) -> None:
        while not self._stop.wait(_HOLD_S):
            try:
                self._hold(tasks)
                for response_id, lines in tasks.take().items():
                    self._take(response_id, lines, again)
            except StoreError as error:
                _log.warning("responses are not held", reason=str(error))

    def _hold(self, tasks: RedisTasks) -> None:
        """Raises StoreError."""
        with self._lock:
            kept = dict(self._kept)
        for made in kept.values():
            if made.status in ENDED:
                self._note(made)
        running = [one for one, made in kept.items() if made.status not in ENDED and made.is_kept]
        stopped, taken = tasks.hold(running)
        for response_id in taken:
            self._leave(kept[response_id])
        for response_id in stopped:
            kept[response_id].asker.leave()

    def _take(
        self,
        response_id: str,
        lines: list[str],
        again: Again,
    ) -> None:
        """Go on with a response whose process is gone. Its place is held for a few seconds: where
        none is free here it is tried again.
        """
        made = ResponseRecord.of_lines(lines, Asker())
        try:
            if not made.can_go_on:
                _fail(made, _LOST)
                return self._note(made)
            ask, finish = again(made)
            made.asker = self._answering.take(made.asker.holder)
        except (ApiError, VStreamError) as error:
            _log.warning("response not taken yet", response=response_id, reason=str(error))
            return None
        made.begin_again()
        self._start(made, ask, finish)
        return None

    def _forget_old(self) -> None:
        """Those that ended long ago."""
        now = time.time()
        for one in list(self._kept.values()):
            if one.ended_at and now - one.ended_at > KEPT_S:
                del self._kept[one.id]

    def _make_room(self) -> None:
        """For one more: the oldest that have ended go."""
        kept_bytes = sum(one.num_bytes for one in self._kept.values())
        for one in [one for one in self._kept.values() if one.ended_at]:
            if len(self._kept) < MOST_KEPT and kept_bytes <= _MOST_KEPT_BYTES:
                break
            kept_bytes -= one.num_bytes
            del self._kept[one.id]


def _say_all(made: ResponseRecord, ask: Ask, finish: Finish, on_said: Callable[[], None]) -> None:
    inquiry = ask()
    with made.changed:
        made.status = "in_progress"
    _say(made, "response.in_progress", response=response_document(made))
    item = {**message_of(made, "in_progress"), "content": []}
    _say(made, "response.output_item.added", output_index=0, item=item)
    part = {"type": "output_text", "text": "", "annotations": []}
    _say(made, "response.content_part.added", **made.place, part=part)
    on_said()
    spans: dict[str, tuple[int, int]] = {}
    for piece in inquiry.pieces:
        start, _ = spans.get(piece.stream_id, (len(made.text), 0))
        made.text += piece.text
        spans[piece.stream_id] = (start, len(made.text))
        _say(made, DELTA, **made.place, delta=piece.text, logprobs=[])
        on_said()
    found = finish(inquiry)
    made.annotations = [
        cited.model_dump()
        for one in found
        for cited in link_citations(one, spans.get(one.stream_id, (0, 0)))
    ]
    made.usage = _usage(usage_of(found))
    made.evidence = [one.document() for one in evidence_of(found, made.request.tools_ignored)]
    for number, one in enumerate(made.annotations):
        kind = "response.output_text.annotation.added"
        _say(made, kind, **made.place, annotation_index=number, annotation=one)
    _say(made, "response.output_text.done", **made.place, text=made.text, logprobs=[])
    message = message_of(made, "completed")
    _say(made, "response.content_part.done", **made.place, part=message["content"][0])
    _say(made, "response.output_item.done", output_index=0, item=message)
    truncated = any(one.answer.truncated for one in found)
    _end(made, "incomplete" if truncated else "completed")


def _usage(counts: Usage) -> dict[str, Any]:
    return {
        "input_tokens": counts.prompt_tokens,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": counts.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": counts.total_tokens,
    }


def _say(made: ResponseRecord, kind: str, **content: Any) -> None:
    with made.changed:
        made.say(kind, **content)


def _end(made: ResponseRecord, status: str) -> None:
    with made.changed:
        made.end(status)


def _fail(made: ResponseRecord, error: ApiError) -> None:
    told = error.detail
    made.error = {"code": told.code or "server_error", "message": told.message}
    _end(made, "failed")
