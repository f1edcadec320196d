"""Together: what each worker finds in its streams in, as it finds it, the events of all out."""

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any

from starlette.types import Message, Send

from app.cluster.relay import Reply
from app.server.api_errors import ApiError
from app.server.sse import event_of

_Event = tuple[str, str, dict[str, Any]]
"""Which worker tells it, its kind, and what it says."""
Ask = Callable[[str, Send], Awaitable[None]]


class Together:
    """Workers that look for the same. Of one that has come to its end `replies` has the whole."""

    def __init__(self, workers: Iterable[str], ask: Ask) -> None:
        """`ask` asks a worker. Raises ApiError for one that is gone."""
        self._told: asyncio.Queue[_Event] = asyncio.Queue()
        self._early: list[_Event] = []
        self.replies = {worker: _Finding(worker=worker, told=self._told) for worker in workers}
        hearing = (self._hear(one, ask) for one in self.replies.values())
        self._hearing = [asyncio.create_task(one) for one in hearing]

    async def begin(self) -> None:
        """Return once each has begun to find, or has refused."""
        waiting = set(self.replies)
        while waiting:
            self._early.append(await self._told.get())
            waiting.discard(self._early[-1][0])

    async def events(self) -> AsyncGenerator[str, None]:
        """All but the last of each; how far they have come is that of all together."""
        progress: dict[str, dict[str, int]] = {}
        num_left = len(self.replies)
        while num_left:
            worker, kind, document = self._early.pop(0) if self._early else await self._told.get()
            if kind == "end":
                num_left -= 1
            elif kind == "progress":
                progress[worker] = document
                of_all = {name: sum(one[name] for one in progress.values()) for name in document}
                yield event_of(of_all, kind)
            elif document:
                yield event_of(document, kind)

    def end(self) -> None:
        for hearing in self._hearing:
            hearing.cancel()

    async def _hear(self, finding: "_Finding", ask: Ask) -> None:
        try:
            await ask(finding.worker, finding.take)
        except ApiError:
            finding.status = 0
        finally:
            self._told.put_nowait((finding.worker, "end", {}))


@dataclass(kw_only=True)
class _Finding(Reply):
    """The events of one worker; the last one, `done`, is its body."""

    worker: str
    told: asyncio.Queue[_Event]

    async def take(self, message: Message) -> None:
        if self.status != 200:
            await super().take(message)
        if self.status != 200:
            return
        if message["type"] == "http.response.start":
            await self.told.put((self.worker, "begun", {}))
        for event in message.get("body", b"").decode().split("\n\n"):
            kind, _, data = event.removeprefix("event: ").partition("\ndata: ")
            if kind == "done":
                self.body = data.encode()
            elif data:
                await self.told.put((self.worker, kind, json.loads(data)))
