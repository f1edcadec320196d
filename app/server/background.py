"""BackgroundResponses: questions in, their answers out for those who come later or listen now.

A response is a list of events, as OpenAI's Responses API streams them: who looks at it, while
it runs or afterwards, reads the same list. Kept in this process, for an hour and the last thousand,
within a bound of bytes.
"""

import secrets
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from dataclasses import dataclass, field
from typing import Any

from app.server.answering import Answering
from app.server.api_errors import ApiError, api_error
from app.server.ask_request import AskRequest
from app.server.chat_documents import Usage, evidence_of, usage_of
from app.server.documents import link_citations
from encoders import Turn
from memory.locks import Rank, ranked_condition, ranked_lock
from vstream.device.asker import Asker
from vstream.service.event import EventKind
from vstream.service.event_log import EventLog
from vstream.service.inquiry import Inquiry, StreamAnswer

_KEPT_S = 3600.0
_MOST_KEPT = 1000
_MOST_KEPT_BYTES = 256 << 20
_EVENT_BYTES = 1 << 10
"""About what an event of a few letters takes."""
Ask = Callable[[], Inquiry]
Finish = Callable[[Inquiry], list[StreamAnswer]]
ENDED = frozenset({"completed", "failed", "cancelled", "incomplete"})


@dataclass(eq=False)
class ResponseRecord:
    """One response; guarded by its condition."""

    owner: str
    model: str
    request: AskRequest
    asker: Asker
    background: bool
    metadata: dict[str, str]
    instructions: str | None = None
    previous: str | None = None
    is_kept: bool = True
    """Whether it can be looked up once it has ended."""
    id: str = field(default_factory=lambda: f"resp_{secrets.token_hex(16)}")
    created_at: int = field(default_factory=lambda: int(time.time()))
    status: str = "queued"
    text: str = ""
    annotations: list[dict[str, Any]] = field(default_factory=list)
    usage: dict[str, Any] | None = None
    evidence: list[dict[str, Any]] = field(default_factory=list)
    error: dict[str, Any] | None = None
    ended_at: float | None = None
    events: list[dict[str, Any]] = field(default_factory=list)
    changed: threading.Condition = field(default_factory=lambda: ranked_condition(Rank.RESPONSE))

    @property
    def item_id(self) -> str:
        return f"msg_{self.id.removeprefix('resp_')}"

    @property
    def num_bytes(self) -> int:
        """About what it takes of host RAM."""
        said = [self.text, self.request.system, self.instructions or "", *self.metadata.values()]
        said.append(self.request.decoding.schema or "")
        said += [text for turn in self.turns for text in (turn.question, turn.answer)]
        return _EVENT_BYTES * len(self.events) + 4 * sum(map(len, said))

    @property
    def turns(self) -> tuple[Turn, ...]:
        """The dialogue up to and with this response."""
        return (*self.request.dialogue, Turn(self.request.text, self.text))

    def say(self, kind: str, **content: Any) -> None:
        """To all who follow; under its condition."""
        self.events.append({"type": kind, "sequence_number": len(self.events), **content})
        self.changed.notify_all()

    def follow(
        self, after: int = -1, stop: threading.Event | None = None
    ) -> Iterator[dict[str, Any]]:
        """Events from `after` on, until the last or `stop`."""
        place = after + 1
        while True:
            with self.changed:
                if len(self.events) <= place and self.status not in ENDED:
                    self.changed.wait(timeout=1.0)
                found = self.events[place:]
                place = max(place, len(self.events))
                is_over = self.status in ENDED
            yield from found
            if is_over or (stop is not None and stop.is_set()):
                return


class BackgroundResponses:
    """Runs and keeps responses. May be used from any thread."""

    def __init__(self, events: EventLog, answering: Answering) -> None:
        """Those in the background hold the places of their askers in `answering` to their end."""
        self._events = events
        self._answering = answering
        self._kept: dict[str, ResponseRecord] = {}
        self._lock = ranked_lock(Rank.RESPONSES)
        self._threads: set[threading.Thread] = set()

    def begin(self, made: ResponseRecord, ask: Ask, finish: Finish) -> None:
        """Begin to answer in a thread of its own: `ask` puts the question, `finish` takes what came
        of it. In the background that goes on if nobody waits any more.
        """
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
        """Raises ApiError if there is none, or it is somebody else's."""
        with self._lock:
            self._forget_old()
        found = self._kept.get(response_id)
        if found is None or found.owner != owner:
            raise ApiError(404, f"there is no response {response_id}", "response_not_found")
        return found

    def cancel(self, response_id: str, owner: str) -> ResponseRecord:
        """Do no more for it, so that it ends shortly; one that has ended stays as it is. Raises
        ApiError.
        """
        found = self.get(response_id, owner)
        found.asker.leave()
        return found

    def forget(self, response_id: str) -> None:
        with self._lock:
            self._kept.pop(response_id, None)

    def close(self, until: float) -> None:
        """Those that still run at `until`, in `time.monotonic` seconds, are cancelled."""
        with self._lock:
            running, threads = list(self._kept.values()), list(self._threads)
        for thread in threads:
            thread.join(timeout=max(0.0, until - time.monotonic()))
        for one in running:
            one.asker.leave()
        for thread in threads:
            thread.join(timeout=5)

    def _answer(self, made: ResponseRecord, ask: Ask, finish: Finish) -> None:
        try:
            _say_all(made, ask, finish)
        except CancelledError:
            _end(made, "cancelled")
        except Exception as error:  # noqa: BLE001  told to those who ask after it
            told = api_error(error).detail
            made.error = {"code": told.code or "server_error", "message": told.message}
            _end(made, "failed")
        finally:
            if made.background:
                self._answering.end(made.asker)
            with self._lock:
                self._threads.discard(threading.current_thread())
                if not made.is_kept:
                    self._kept.pop(made.id, None)
            ended = {"response_id": made.id, "status": made.status}
            self._events.publish(EventKind.RESPONSE_DONE, None, ended, owner=made.owner)

    def _forget_old(self) -> None:
        """Those that ended long ago."""
        now = time.time()
        for one in list(self._kept.values()):
            if one.ended_at and now - one.ended_at > _KEPT_S:
                del self._kept[one.id]

    def _make_room(self) -> None:
        """For one more: the oldest that have ended go."""
        kept_bytes = sum(one.num_bytes for one in self._kept.values())
        for one in [one for one in self._kept.values() if one.ended_at]:
            if len(self._kept) < _MOST_KEPT and kept_bytes <= _MOST_KEPT_BYTES:
                break
            kept_bytes -= one.num_bytes
            del self._kept[one.id]


def _say_all(made: ResponseRecord, ask: Ask, finish: Finish) -> None:
    inquiry = ask()
    with made.changed:
        made.status = "in_progress"
    _say(made, "response.in_progress", response=response_document(made))
    place = {"item_id": made.item_id, "output_index": 0, "content_index": 0}
    item = {**_message(made, "in_progress"), "content": []}
    _say(made, "response.output_item.added", output_index=0, item=item)
    part = {"type": "output_text", "text": "", "annotations": []}
    _say(made, "response.content_part.added", **place, part=part)
    spans: dict[str, tuple[int, int]] = {}
    for piece in inquiry.pieces:
        start, _ = spans.get(piece.stream_id, (len(made.text), 0))
        made.text += piece.text
        spans[piece.stream_id] = (start, len(made.text))
        _say(made, "response.output_text.delta", **place, delta=piece.text, logprobs=[])
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
        _say(made, kind, **place, annotation_index=number, annotation=one)
    _say(made, "response.output_text.done", **place, text=made.text, logprobs=[])
    message = _message(made, "completed")
    _say(made, "response.content_part.done", **place, part=message["content"][0])
    _say(made, "response.output_item.done", output_index=0, item=message)
    truncated = any(one.answer.truncated for one in found)
    _end(made, "incomplete" if truncated else "completed")


def response_document(made: ResponseRecord) -> dict[str, Any]:
    """As OpenAI's Responses API has it, and `vstream` with what the answer rests on."""
    decoding = made.request.decoding
    has_text = made.text or made.status in ("completed", "incomplete")
    item_status = "completed" if made.status == "completed" else "incomplete"
    details = {"reason": "max_output_tokens"} if made.status == "incomplete" else None
    return {
        "id": made.id,
        "object": "response",
        "created_at": made.created_at,
        "status": made.status,
        "background": made.background,
        "error": made.error,
        "incomplete_details": details,
        "instructions": made.instructions,
        "max_output_tokens": decoding.max_tokens,
        "metadata": made.metadata,
        "model": made.model,
        "output": [_message(made, item_status)] if has_text else [],
        "parallel_tool_calls": False,
        "previous_response_id": made.previous,
        "store": made.is_kept,
        "temperature": decoding.temperature,
        "tool_choice": "none",
        "tools": [],
        "top_p": decoding.top_p,
        "usage": made.usage,
        "vstream": made.evidence,
    }


def _message(made: ResponseRecord, status: str) -> dict[str, Any]:
    said = {"type": "output_text", "text": made.text, "annotations": made.annotations}
    return {
        "id": made.item_id,
        "type": "message",
        "role": "assistant",
        "status": status,
        "content": [{**said, "logprobs": []}],
    }


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
        made.status, made.ended_at = status, time.time()
        made.say(f"response.{status}", response=response_document(made))
