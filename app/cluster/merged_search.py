"""MergedSearch: has all workers search their streams, and passes on what they find at once."""

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any

from starlette.types import Message, Send

from app.cluster.relay import Reply
from app.server.api_errors import api_error
from app.server.sse import event_of

_MOST_WAITING = 64
"""Events that wait for a client who reads slowly; the workers then wait, too."""
_Event = tuple[str, str, dict[str, Any]]
"""The worker that sent it, its kind, and its document."""
Ask = Callable[[str, Send], Awaitable[None]]


class MergedSearch:
    """One search on several workers; `replies` holds the whole result of each that has finished."""

    def __init__(self, workers: Iterable[str], ask: Ask) -> None:
        """`ask` sends the request to a worker, and raises ApiError if that one is gone."""
        self._events: asyncio.Queue[_Event] = asyncio.Queue(_MOST_WAITING)
        self._early: list[_Event] = []
        self.replies = {worker: _Finding(worker=worker, events=self._events) for worker in workers}
        reading = (self._read(one, ask) for one in self.replies.values())
        self._reading = [asyncio.create_task(one) for one in reading]

    async def begin(self) -> Reply | None:
        """Return once each worker has started or refused. A refusal, which it returns, ends all."""
        waiting, refused = set(self.replies), None
        try:
            while waiting:
                self._early.append(await self._events.get())
                waiting.discard(self._early[-1][0])
            refused = refusal(self.replies.values())
        finally:
            if waiting or refused:
                self.end()
        return refused

    async def events(self) -> AsyncGenerator[str, None]:
        """Yield all events but the last of each worker, with the sum of their progress."""
        progress: dict[str, dict[str, int]] = {}
        num_left = len(self.replies)
        while num_left:
            early = self._early.pop(0) if self._early else None
            worker, kind, document = early or await self._events.get()
            if kind == "end":
                num_left -= 1
            elif kind == "progress":
                progress[worker] = document
                of_all = {name: sum(one[name] for one in progress.values()) for name in document}
                yield event_of(of_all, kind)
            elif document:
                yield event_of(document, kind)

    def end(self) -> None:
        for reading in self._reading:
            reading.cancel()

    async def _read(self, finding: "_Finding", ask: Ask) -> None:
        try:
            await ask(finding.worker, finding.take)
        except Exception as error:  # noqa: BLE001  what the other workers find counts
            api_error(error)  # logs what was not expected
            finding.status = 0
        await self._events.put((finding.worker, "end", {}))


def refusal(replies: Iterable[Reply]) -> Reply | None:
    """Return a worker's refusal of the request, if there is one."""
    return next((one for one in replies if one.status // 100 == 4), None)


@dataclass(kw_only=True)
class _Finding(Reply):
    """The events of one worker; the document of the last one, `done`, is its body."""

    worker: str
    events: asyncio.Queue[_Event]

    async def take(self, message: Message) -> None:
        if self.status != 200:
            await super().take(message)
        if self.status != 200:
            return
        if message["type"] == "http.response.start":
            await self.events.put((self.worker, "begun", {}))
        for event in message.get("body", b"").decode().split("\n\n"):
            kind, _, data = event.removeprefix("event: ").partition("\ndata: ")
            if kind == "done":
                self.body = data.encode()
            elif data:
                await self.events.put((self.worker, kind, json.loads(data)))
