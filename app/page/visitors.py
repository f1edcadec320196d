"""Visitors: who has the page open; what each has asked, and the camera that is theirs."""

import secrets
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from app.server.documents import Citation

CAMERA = "visitor-"
"""The ids of visitors' own cameras begin so: nobody else is shown them."""
_MOST_TURNS = 50


@dataclass(eq=False)
class Exchange:
    """One question, and its answer as far as it has come."""

    question: str
    stream_id: str
    answer: str = ""
    note: str = ""
    citations: list[Citation] = field(default_factory=list)
    is_running: bool = True
    is_stopped: bool = False


@dataclass(eq=False)
class Visitor:
    """One open page. Its exchanges are nobody else's."""

    camera_id: str = field(default_factory=lambda: f"{CAMERA}{secrets.token_hex(6)}")
    has_camera: bool = False
    exchanges: list[Exchange] = field(default_factory=list)

    def ask(self, question: str, stream_id: str) -> Exchange:
        """A new exchange, the newest."""
        made = Exchange(question, stream_id)
        self.exchanges.append(made)
        del self.exchanges[:-_MOST_TURNS]
        return made

    def stop(self) -> None:
        """End all answers that are being given."""
        for exchange in self.exchanges:
            exchange.is_stopped = exchange.is_stopped or exchange.is_running

    def dialogue(self, stream_id: str) -> list[dict[str, str]]:
        """The finished exchanges about a stream, as messages."""
        messages = []
        for one in self.exchanges:
            if one.stream_id == stream_id and not one.is_running and one.answer:
                messages.append({"role": "user", "content": one.question})
                messages.append({"role": "assistant", "content": one.answer})
        return messages

    def shown(self) -> list[dict[str, Any]]:
        """All exchanges as the chat shows them."""
        messages: list[dict[str, Any]] = []
        for one in self.exchanges:
            messages.append({"role": "user", "content": one.question})
            answer = one.answer or ("…" if one.is_running else "")
            content = f"{answer}\n\n<small>{one.note}</small>" if one.note else answer
            messages.append({"role": "assistant", "content": content or "(nothing)"})
        return messages

    @property
    def newest(self) -> Exchange | None:
        """The last exchange that has something to show for it."""
        return next((one for one in reversed(self.exchanges) if one.citations), None)


class Visitors:
    """All open pages, by Gradio's name of their session."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[str, Visitor] = {}

    def of(self, session: str | None) -> Visitor:
        """The visitor of a session, new if need be."""
        with self._lock:
            return self._known.setdefault(session or "", Visitor())

    def leave(self, session: str | None) -> Visitor | None:
        """The visitor who was there, whom nothing is remembered of now."""
        with self._lock:
            return self._known.pop(session or "", None)

    def __iter__(self) -> Iterator[Visitor]:
        with self._lock:
            return iter(list(self._known.values()))
