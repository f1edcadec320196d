"""ResponseRecord: one response and all that was told of it, also as lines that outlive the process.

A response is a list of events, as OpenAI's Responses API streams them: who looks at it, while
it runs or afterwards, reads the same list.
"""

import json
import re
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import TypeAdapter

from app.server.ask_request import AskRequest
from app.server.told import Told
from encoders import Turn
from memory.locks import Rank, ranked_condition
from vstream.device.asker import Asker

_EVENT_BYTES = 1 << 10
"""About what an event of a few letters takes."""
_LOOK_S = 0.1
"""So often one looks for what another process tells."""
ENDED = frozenset({"completed", "failed", "cancelled", "incomplete"})
IS_RESPONSE = re.compile(r"resp_[0-9a-f]{32}")
DELTA = "response.output_text.delta"
_REQUEST = TypeAdapter(AskRequest)
_WHOSE = ("owner", "model", "background", "metadata", "instructions", "previous")
_NOTED = (*_WHOSE, "is_kept", "id", "created_at", "shows_media")


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
    """Of one that another process answers: look for what has been told since."""
    is_left: bool = False
    """Whether another process is to go on with it."""
    num_noted: int = 0
    """Lines of it that are in the store."""
    _told: Told = field(default_factory=Told)

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

    @property
    def place(self) -> dict[str, Any]:
        """Where its text is, as events say it."""
        return {"item_id": self.item_id, "output_index": 0, "content_index": 0}

    @property
    def can_go_on(self) -> bool:
        """Whether another process would say the same, to who looks it up."""
        decoding = self.request.decoding
        is_drawn = decoding.temperature > 0 and decoding.seed is None
        return self.background and not is_drawn and not self.shows_media

    def say(self, kind: str, **content: Any) -> None:
        """To all who follow; under its condition. What another process has said of it already is
        passed over. Raises OtherAnswerError.
        """
        event = self._told.news({"type": kind, "sequence_number": 0, **content})
        if event is not None:
            self.events.append(event)
            self.changed.notify_all()

    def end(self, status: str) -> None:
        """To all who follow, whatever has been said; under its condition."""
        self.status, self.ended_at, self.text = status, time.time(), self._told.text
        told = {"type": f"response.{status}", "sequence_number": len(self.events)}
        self.events.append({**told, "response": response_document(self)})
        self.changed.notify_all()

    def follow(
        self, after: int = -1, stop: threading.Event | None = None
    ) -> Iterator[dict[str, Any]]:
        """Events from `after` on, until the last, or `stop`, or until it is left. Raises
        StoreError.
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
        """What `of_lines` makes it of again, without the first `after`: of a piece of text that is
        the text alone.
        """
        said: list[Any] = [one["delta"] if one["type"] == DELTA else one for one in self.events]
        if not after:
            noted = {name: getattr(self, name) for name in _NOTED}
            said.insert(0, {**noted, "request": _REQUEST.dump_python(self.request, mode="json")})
        return [json.dumps(one, ensure_ascii=False) for one in said[max(0, after - 1) :]]

    @classmethod
    def of_lines(cls, lines: Sequence[str], asker: Asker) -> "ResponseRecord":
        """Raises KeyError, TypeError, ValueError for what were no `lines`."""
        noted = json.loads(lines[0])
        noted["request"] = _REQUEST.validate_python(noted["request"])
        made = cls(**noted, asker=asker, num_noted=1)
        made.take(lines[1:])
        return made

    def take(self, lines: Sequence[str]) -> None:
        """What another process has said of it since."""
        with self.changed:
            for line in lines:
                told = json.loads(line)
                if isinstance(told, str):
                    self.text += told
                    self.say(DELTA, **self.place, delta=told, logprobs=[])
                    continue
                self.say(told.pop("type"), **told)
                self._become(told.get("response"))
            self.num_noted += len(lines)

    def _become(self, document: dict[str, Any] | None) -> None:
        """As the newest event has the whole of it."""
        if document is None:
            return
        self.status, self.usage, self.error = (
            document[name] for name in ("status", "usage", "error")
        )
        self.evidence = document["vstream"]
        for message in document["output"]:
            self.annotations = message["content"][0]["annotations"]

    def begin_again(self) -> None:
        """Go on with what another process has begun, from the first word."""
        self._told.begin_again()
        self.text = ""


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
        "output": [message_of(made, item_status)] if has_text else [],
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


def message_of(made: ResponseRecord, status: str) -> dict[str, Any]:
    said = {"type": "output_text", "text": made.text, "annotations": made.annotations}
    return {
        "id": made.item_id,
        "type": "message",
        "role": "assistant",
        "status": status,
        "content": [{**said, "logprobs": []}],
    }
