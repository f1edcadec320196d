"""Visitors: who has the page open; what each has asked, and the camera that is theirs."""

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
"""The ids of visitors' own cameras begin so: nobody else is shown them."""
CAMERA_ID = re.compile(rf"{CAMERA}[0-9a-f]{{12}}")
OWN = "my camera"
"""What a visitor's own camera is called: no stream's id has a blank."""
_MOST_TURNS = 24
_MOST_GONE = 1000
_UNSEEN_S = 3600.0
"""A page looks twice a second, and once a minute where its browser puts it to sleep."""
_RATES_OVER_S = 6.0
_LATE_S = 5.0
"""So long after a page was closed what it had sent may still come."""


class Rates:
    """Measured where they are shown, over the looks at one stream."""

    def __init__(self) -> None:
        self._stream: str | None = None
        self._looks: deque[tuple[float, dict[str, int]]] = deque()

    def of(
        self, stream_id: str, frames: dict[str, int], now_s: float | None = None
    ) -> dict[str, float]:
        """By the names of the counts; empty until there are looks a second apart."""
        now_s = time.monotonic() if now_s is None else now_s
        newest = self._looks[-1][1] if self._looks else {}
        went_back = any(frames.get(name, 0) < count for name, count in newest.items())
        if stream_id != self._stream or went_back:  # the service was started again
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
    """One question, and its answer as far as it has come."""

    question: str
    name: str = ""
    """What the page calls the stream; empty while there is none yet."""
    stream_id: str = ""
    waits: str = ""
    """For what, before it is put."""
    answer: str = ""
    note: str = ""
    problem: str = ""
    unsure: str | None = None
    """How unsure the service calls it, in words."""
    code: dict[str, str] = field(default_factory=dict)
    """What puts the same question, by its language."""
    citations: list[Citation] = field(default_factory=list)
    pictures: list[str] = field(default_factory=list)
    """The moments that the answer rests on, as HTML."""
    is_running: bool = True
    is_stopped: bool = False


@dataclass(eq=False, kw_only=True)
class Looking:
    """What is shown while the service looks through streams, until it ends or is stopped."""

    coverage: object = None
    problem: str = ""
    is_stopped: bool = False

    @property
    def is_running(self) -> bool:
        return self.coverage is None and not (self.problem or self.is_stopped)


@dataclass(eq=False)
class Finding(Looking):
    """A statement that a stream is looked through for, and what has been found so far."""

    statement: str
    stream: str
    spans: list[FoundSpanDocument] = field(default_factory=list)
    """In the order of the stream."""
    pictures: dict[str, str] = field(default_factory=dict)
    """Of those that are shown, as HTML, by the address of the picture."""
    judged: int = 0
    coverage: list[CoveredDocument] | None = field(default=None, kw_only=True)
    """Of its stretch, once it has ended by itself."""
    strange: str = ""
    """What it means that its model does not know these pictures, if so."""


@dataclass(eq=False)
class RecapSoFar(Looking):
    entries: list[tuple[RecapEntryDocument, str, str]] = field(default_factory=list)
    """Each with what the page calls its stream, and its picture as HTML."""
    described: int = 0
    title: str = ""
    coverage: dict[str, list[CoveredDocument]] | None = field(default=None, kw_only=True)
    """Of each stream's stretch, once it has ended by itself."""


@dataclass(eq=False)
class Visitor:
    """One open page. Its exchanges are nobody else's."""

    camera_id: str = field(default_factory=lambda: f"{CAMERA}{secrets.token_hex(6)}")
    has_camera: bool = False
    pushing: threading.Lock = field(default_factory=lambda: ranked_lock(Rank.PAGE_CAMERA))
    """Held while a frame of the camera is on its way: a service that hangs is sent no more."""
    exchanges: list[Exchange] = field(default_factory=list)
    finding: Finding | None = None
    """The newest, the only one that may be running."""
    recap: RecapSoFar | None = None
    streams: dict[str, StreamDocument] = field(default_factory=dict)
    """Those that this visitor may ask about, by what the page calls them, as of the last look."""
    seen_at: float = field(default_factory=time.monotonic)
    looks: int = 0
    """How often the page has looked at its streams."""
    shown: tuple[str, float | None] | None = None
    """Stream and time of the picture that is shown."""
    rates: Rates = field(default_factory=Rates)
    firings: dict[str, str] = field(default_factory=dict)
    """Pictures of firings that are listed, as HTML, by their address."""
    told_up_to: int | None = None
    """The id of the newest firing that there was a notice of."""

    @property
    def names(self) -> list[str]:
        return list(self.streams)

    def id_of(self, name: str | None) -> str | None:
        """The stream that is called so on this visitor's page; none that it does not offer."""
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
        """In the place of what is shown of that kind so far, which ends."""
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
    """All open pages, by Gradio's name of their session."""

    def __init__(self) -> None:
        self._lock = ranked_lock(Rank.VISITORS)
        self._known: dict[str | None, Visitor] = {}
        self._gone: dict[str | None, float] = {}
        """When they left, those who did so last."""

    def of(self, session: str | None) -> Visitor:
        """The visitor of a session, new if need be."""
        now = time.monotonic()
        with self._lock:
            visitor = self._known.setdefault(session, Visitor())
            visitor.seen_at = now
            if now > self._gone.get(session, now) + _LATE_S:
                del self._gone[session]  # its connection was lost, and is there again
            return visitor

    def leave(self, session: str | None) -> Visitor | None:
        """The visitor who was there, whom nothing is remembered of now but that they are gone."""
        with self._lock:
            return self._leave(session)

    def leave_unseen(self) -> list[Visitor]:
        """Those of whom nothing was heard for an hour; they are taken for gone."""
        unseen_since = time.monotonic() - _UNSEEN_S
        with self._lock:
            unseen = [key for key, one in self._known.items() if one.seen_at < unseen_since]
            return [one for one in map(self._leave, unseen) if one is not None]

    def has_left(self, session: str | None) -> bool:
        """Whether frames of this session's camera come too late."""
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
