"""EventListener: a service's /v1/events in, what it has told so far out; it leaves at any time."""

import asyncio
import json
import threading
import time
from contextlib import suppress

import httpx


class EventListener:
    """`events` are the documents in order, `ids` those of the lines before them."""

    def __init__(self, url, key=None, last_id=None, **query):
        self._url = f"{url}/v1/events"
        self._headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        if last_id is not None:
            self._headers["Last-Event-ID"] = str(last_id)
        self._query = query
        self.events, self.ids, self.text = [], [], ""
        self._listens = threading.Event()
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)

    def __enter__(self):
        self._thread.start()
        assert self._listens.wait(20), "nothing answers"
        return self

    def __exit__(self, *error):
        """Leave, as a client does whose connection breaks."""
        with suppress(RuntimeError):  # the service has ended it already
            self._loop.call_soon_threadsafe(self._task.cancel)
        self.await_end()

    def await_end(self):
        self._thread.join(20)
        assert not self._thread.is_alive()

    def await_events(self, is_enough, seconds=20):
        """The events, once `is_enough` of them."""
        give_up_at = time.monotonic() + seconds
        with self._changed:
            while not is_enough(self.events):
                assert self._changed.wait(give_up_at - time.monotonic()), self.events
            return list(self.events)

    async def _run(self):
        self._loop, self._task = asyncio.get_running_loop(), asyncio.current_task()
        async with (
            httpx.AsyncClient(timeout=None, headers=self._headers) as client,
            client.stream("GET", self._url, params=self._query) as response,
        ):
            assert response.status_code == 200, response.status_code
            try:
                async for line in response.aiter_lines():
                    self._take(line)
            except asyncio.CancelledError:
                return

    def _take(self, line):
        with self._changed:
            self.text += line + "\n"
            if line.startswith(": listening"):
                self._listens.set()
            elif line.startswith("id: "):
                self.ids.append(int(line.removeprefix("id: ")))
            elif line.startswith("data: "):
                self.events.append(json.loads(line.removeprefix("data: ")))
            self._changed.notify_all()


def published(log):
    """All events that an EventLog still has."""
    return list(log._ring)
