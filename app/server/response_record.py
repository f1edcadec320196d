"""ResponseRecord: one response and its events, also as lines that outlive the process.

A response is a list of events in the form that OpenAI's Responses API streams them. Its readers see
the same list while it runs and afterwards.
"""

import json
import re
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel

from app.server.ask_request import REQUEST, AskRequest
from app.server.sent_events import SentEvents
from encoders import Turn
from memory.locks import Rank, ranked_condition
from vstream.device.asker import Asker

_EVENT_BYTES = 1 << 10
"""About the size of an event of a few letters."""
_LOOK_S = 0.1
"""How often to look for events of another process."""
ENDED = frozenset({"completed", "failed", "cancelled", "incomplete"})
_STATES = ENDED | {"queued", "in_progress"}
IS_RESPONSE = re.compile(r"resp_[0-9a-f]{32}")
DELTA = "response.output_text.delta"


class _Noted(BaseModel):
    """The facts of a response, its first line."""

    owner: str
    model: str
    request: AskRequest
    background: bool
    metadata: dict[str, str]
    instructions: str | None
    previous: str | None
    is_kept: bool
    id: str
    created_at: int
    shows_media: bool


@dataclass(eq=False)
class ResponseRecord:
    """One response; its condition, `changed`, guards it."""

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
    shows_media: bool = False
    """Whether the request showed pictures, which are not kept."""
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
    refresh: Callable[[], None] | None = None
    """If another process answers it: fetch its new events."""
    is_left: bool = False
    """Whether another process is to continue it."""
    num_noted: int = 0
    """Lines of it that are in the store."""
    _sent: SentEvents = field(default_factory=SentEvents)

    @property
    def item_id(self) -> str:
        return f"msg_{self.id.removeprefix('resp_')}"

    @property
    def stream_ids(self) -> set[str]:
        """The streams that it is about, as far as they are known yet."""
        named = {one.stream_id for one in self.request.streams}
        return named.union(one["stream_id"] for one in self.evidence) - {REQUEST}

    @property
    def num_bytes(self) -> int:
        """About how much host RAM it takes."""
        texts = [self.text, self.request.system, self.instructions or "", *self.metadata.values()]
        texts.append(self.request.decoding.schema or "")
        texts += [text for turn in self.turns for text in (turn.question, turn.answer)]
        return _EVENT_BYTES * len(self.events) + 4 * sum(map(len, texts))

    @property
    def turns(self) -> tuple[Turn, ...]:
        """The dialogue up to and including this response."""
        return (*self.request.dialogue, Turn(self.request.text, self.text))

    @property
    def place(self) -> dict[str, Any]:
        """Where its text is, in the form that events use."""
        return {"item_id": self.item_id, "output_index": 0, "content_index": 0}

    @property
    def can_go_on(self) -> bool:
        """Whether another process could continue it with the same text, for a later look-up."""
        decoding = self.request.decoding
        is_drawn = decoding.temperature > 0 and decoding.seed is None
        return self.background and not is_drawn and not self.shows_media

    def say(self, kind: str, **content: Any) -> None:
        """Send an event to all followers, without what another process has said already. Call it
        with the condition held. Raises OtherAnswerError.
        """
        event = self._sent.news({"type": kind, "sequence_number": 0, **content})
        if event is not None:
            self.events.append(event)
            self.changed.notify_all()

    def end(self, status: str) -> None:
        """Send the last event to all followers. Call it with the condition held."""
        self.status, self.ended_at, self.text = status, time.time(), self._sent.text
        last = {"type": f"response.{status}", "sequence_number": len(self.events)}
        self.events.append({**last, "response": response_document(self)})
        self.changed.notify_all()

    def follow(
        self, after: int = -1, stop: threading.Event | None = None
    ) -> Iterator[dict[str, Any]]:
        """Yield the events after number `after`, until the last one, `stop`, or until it is left to
        another process. Raises StoreError.
        """
        place = after + 1
        while True:
            if self.refresh is not None:
                self.refresh()
            with self.changed:
                if len(self.events) <= place and self.status not in ENDED:
                    self.changed.wait(timeout=1.0 if self.refresh is None else _LOOK_S)
                found = self.events[place:]
                place = max(place, len(self.events))
                is_over = self.status in ENDED or self.is_left
            yield from found
            if is_over or (stop is not None and stop.is_set()):
                return

    def lines(self, after: int) -> list[str]:
        """Return the lines that `of_lines` reads, without the first `after`. A piece of text is
        only its text.
        """
        noted: list[Any] = [one["delta"] if one["type"] == DELTA else one for one in self.events]
        if not after:
            facts = {name: getattr(self, name) for name in _Noted.model_fields}
            noted.insert(0, _Noted(**facts).model_dump(mode="json"))
        return [json.dumps(one, ensure_ascii=False) for one in noted[max(0, after - 1) :]]

    @classmethod
    def of_lines(cls, lines: Sequence[bytes], asker: Asker) -> "ResponseRecord":
        """Read it from `lines`. Raises ValueError for anything else."""
        try:
            record = cls(**dict(_Noted.model_validate_json(lines[0])), asker=asker, num_noted=1)
            record.take(lines[1:])
            if not all(isinstance(one, str) for one in record.stream_ids):
                raise TypeError("a stream without an id")
        except (AttributeError, LookupError, TypeError) as error:
            raise ValueError(f"not a response: {error!r}") from error
        return record

    def take(self, lines: Sequence[bytes]) -> None:
        """Add what another process has said since."""
        with self.changed:
            for line in lines:
                event = json.loads(line)
                if isinstance(event, str):
                    self.text += event
                    self.say(DELTA, **self.place, delta=event, logprobs=[])
                    continue
                self.say(event.pop("type"), **event)
                self._become(event.get("response"))
            self.num_noted += len(lines)

    def _become(self, document: dict[str, Any] | None) -> None:
        """Take over the whole response from the newest event, if it holds one."""
        if document is None:
            return
        self.status, self.usage, self.error = (
            document[name] for name in ("status", "usage", "error")
        )
        if self.status not in _STATES:
            raise ValueError(f"no status of a response: {self.status}")
        self.evidence = document["vstream"]
        for message in document["output"]:
            self.annotations = message["content"][0]["annotations"]

    def begin_again(self) -> None:
        """Answer again, from the first word, what another process has begun."""
        self._sent.begin_again()
        self.text = ""


def response_document(record: ResponseRecord) -> dict[str, Any]:
    """Return it as in OpenAI's Responses API, with the answer's evidence in `vstream`."""
    decoding = record.request.decoding
    has_text = record.text or record.status in ("completed", "incomplete")
    item_status = "completed" if record.status == "completed" else "incomplete"
    details = {"reason": "max_output_tokens"} if record.status == "incomplete" else None
    return {
        "id": record.id,
        "object": "response",
        "created_at": record.created_at,
        "status": record.status,
        "background": record.background,
        "error": record.error,
        "incomplete_details": details,
        "instructions": record.instructions,
        "max_output_tokens": decoding.max_tokens,
        "metadata": record.metadata,
        "model": record.model,
        "output": [message_of(record, item_status)] if has_text else [],
        "parallel_tool_calls": False,
        "previous_response_id": record.previous,
        "store": record.is_kept,
        "temperature": decoding.temperature,
        "tool_choice": "none",
        "tools": [],
        "top_p": decoding.top_p,
        "usage": record.usage,
        "vstream": record.evidence,
    }


def message_of(record: ResponseRecord, status: str) -> dict[str, Any]:
    part = {"type": "output_text", "text": record.text, "annotations": record.annotations}
    return {
        "id": record.item_id,
        "type": "message",
        "role": "assistant",
        "status": status,
        "content": [{**part, "logprobs": []}],
    }
