"""Visitors: who has the page open, what each has asked, and their cameras."""

import re
import secrets
import threading
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from app.server.documents import Citation, StreamDocument
from app.server.moment_documents import CoveredDocument, FoundSpanDocument
from app.server.recap_documents import RecapEntryDocument
from memory.locks import Rank, ranked_lock

CAMERA = "visitor-"
"""Prefix of the stream ids of visitors' own cameras, which nobody else sees."""
CAMERA_ID = re.compile(rf"{CAMERA}[0-9a-f]{{12}}")
OWN = "my camera"
"""The page's name of a visitor's own camera; no stream id can have a space."""
_MOST_TURNS = 24
_MOST_GONE = 1000
_UNSEEN_S = 3600.0
"""When a visitor counts as gone: a page looks twice a second, or once a minute if it sleeps."""
_RATES_OVER_S = 6.0
_LATE_S = 5.0
"""How long after closing a page its last frames may still arrive."""


class Rates:
    """Frame rates of the stream shown, measured from one look to the next."""

    def __init__(self) -> None:
        self._stream: str | None = None
        self._looks: deque[tuple[float, dict[str, int]]] = deque()

    def of(
        self, stream_id: str, frames: dict[str, int], now_s: float | None = None
    ) -> dict[str, float]:
        """Rates per second, by count; empty until two looks are a second apart."""
        now_s = time.monotonic() if now_s is None else now_s
        newest = self._looks[-1][1] if self._looks else {}
        went_back = any(frames.get(name, 0) < count for name, count in newest.items())
        if stream_id != self._stream or went_back:  # the service restarted
            self._stream = stream_id
            self._looks.clear()
        self._looks.append((now_s, frames))
        while self._looks[0][0] < now_s - _RATES_OVER_S:
            self._looks.popleft()
        began_s, before = self._looks[0]
        if now_s - began_s < 1:
            return {}
        return {name: (frames[name] - before.get(name, 0)) / (now_s - began_s) for name in frames}


@dataclass(eq=False)
class Exchange:
    """A question, and its answer so far."""

    question: str
    name: str = ""
    """The page's name of the stream; empty while there is none."""
    stream_id: str = ""
    waits: str = ""
    """What the question is waiting for, in words."""
    answer: str = ""
    note: str = ""
    problem: str = ""
    unsure: str | None = None
    """How unsure the answer is, in words."""
    code: dict[str, str] = field(default_factory=dict)
    """Code that asks the same question, by language."""
    citations: list[Citation] = field(default_factory=list)
    pictures: list[str] = field(default_factory=list)
    """The moments that the answer is based on, as HTML."""
    is_running: bool = True
    is_stopped: bool = False


@dataclass(eq=False, kw_only=True)
class Looking:
    """A find or a recap in progress, until it ends or is stopped."""

    coverage: object = None
    problem: str = ""
    is_stopped: bool = False

    @property
    def is_running(self) -> bool:
        return self.coverage is None and not (self.problem or self.is_stopped)


@dataclass(eq=False)
class Finding(Looking):
    """A find in one stream, and the spans found so far."""

    statement: str
    stream: str
    spans: list[FoundSpanDocument] = field(default_factory=list)
    """In stream order."""
    pictures: dict[str, str] = field(default_factory=dict)
    """URL of a picture -> its HTML, for the spans shown."""
    judged: int = 0
    coverage: list[CoveredDocument] | None = field(default=None, kw_only=True)
    """What was covered, once the find has finished."""
    strange: str = ""
    """A warning if the model does not know these pictures."""


@dataclass(eq=False)
class RecapSoFar(Looking):
    entries: list[tuple[RecapEntryDocument, str, str]] = field(default_factory=list)
    """Each with the page's name of its stream, and its picture as HTML."""
    described: int = 0
    title: str = ""
    coverage: dict[str, list[CoveredDocument]] | None = field(default=None, kw_only=True)
    """What was covered of each stream, once the recap has finished."""


@dataclass(eq=False)
class Visitor:
    """One open page, with its private chats."""

    camera_id: str = field(default_factory=lambda: f"{CAMERA}{secrets.token_hex(6)}")
    has_camera: bool = False
    pushing: threading.Lock = field(default_factory=lambda: ranked_lock(Rank.PAGE_CAMERA))
    """Held while a camera frame is being sent, so that none pile up if the service hangs."""
    exchanges: list[Exchange] = field(default_factory=list)
    finding: Finding | None = None
    """The newest find, the only one that may be running."""
    recap: RecapSoFar | None = None
    streams: dict[str, StreamDocument] = field(default_factory=dict)
    """The streams that this visitor sees, by the page's names, as of the last look."""
    seen_at: float = field(default_factory=time.monotonic)
    looks: int = 0
    """How often the page has looked at its streams."""
    shown: tuple[str, float | None] | None = None
    """Stream and time of the live picture shown."""
    rates: Rates = field(default_factory=Rates)
    firings: dict[str, str] = field(default_factory=dict)
    """URL of a picture -> its HTML, for the firings listed."""
    told_up_to: int | None = None
    """The id of the newest firing shown in a notice."""

    @property
    def names(self) -> list[str]:
        return list(self.streams)

    def id_of(self, name: str | None) -> str | None:
        """The id of the stream that the page calls `name`; None if it does not offer it."""
        if name == OWN:
            return self.camera_id
        return name if name in self.streams else None

    def ask(self, question: str, name: str | None) -> Exchange:
        made = Exchange(question, name or "", self.id_of(name) or "")
        self.exchanges.append(made)
        del self.exchanges[:-_MOST_TURNS]
        return made

    def stop(self) -> None:
        for exchange in self.exchanges:
            if exchange.is_running:
                exchange.is_stopped, exchange.is_running = True, False

    def look_for(self, kind: Literal["finding", "recap"], looking: Looking | None) -> None:
        """Replace the find or recap shown so far, and stop it."""
        if (before := getattr(self, kind)) is not None:
            before.is_stopped = True
        setattr(self, kind, looking)

    def dialogue(self, stream_id: str) -> list[dict[str, str]]:
        messages = []
        for one in self.exchanges:
            is_whole = bool(one.answer) and not (one.is_running or one.is_stopped or one.problem)
            if one.stream_id == stream_id and is_whole:
                messages.append({"role": "user", "content": one.question})
                messages.append({"role": "assistant", "content": one.answer})
        return messages


class Visitors:
    """All open pages, by Gradio's session hash."""

    def __init__(self) -> None:
        self._lock = ranked_lock(Rank.VISITORS)
        self._known: dict[str | None, Visitor] = {}
        self._gone: dict[str | None, float] = {}
        """When the latest leavers left."""

    def of(self, session: str | None) -> Visitor:
        """The visitor of a session, new if need be."""
        now = time.monotonic()
        with self._lock:
            visitor = self._known.setdefault(session, Visitor())
            visitor.seen_at = now
            if now > self._gone.get(session, now) + _LATE_S:
                del self._gone[session]  # its connection was lost and is back
            return visitor

    def leave(self, session: str | None) -> Visitor | None:
        """Forget a visitor, except that they have left; return who it was."""
        with self._lock:
            return self._leave(session)

    def leave_unseen(self) -> list[Visitor]:
        """Forget and return the visitors not heard from for an hour."""
        unseen_since = time.monotonic() - _UNSEEN_S
        with self._lock:
            unseen = [key for key, one in self._known.items() if one.seen_at < unseen_since]
            return [one for one in map(self._leave, unseen) if one is not None]

    def has_left(self, session: str | None) -> bool:
        """Whether this session has left, so that frames of its camera come too late."""
        with self._lock:
            return session in self._gone

    def __iter__(self) -> Iterator[Visitor]:
        with self._lock:
            return iter(list(self._known.values()))

    def _leave(self, session: str | None) -> Visitor | None:
        self._gone.pop(session, None)
        self._gone[session] = time.monotonic()
        if len(self._gone) > _MOST_GONE:
            del self._gone[next(iter(self._gone))]
        return self._known.pop(session, None)
