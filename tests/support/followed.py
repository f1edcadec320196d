"""Followed: a response that streams, read in a thread: its lines so far, and its end."""

import json
import threading

import httpx


class Followed:
    """Begun when made, once the first line is there."""

    def __init__(self, method, url, **options):
        self.lines = []
        self.failure = None
        self._begun = threading.Event()
        self._thread = threading.Thread(
            target=self._read, args=(method, url), kwargs=options, daemon=True
        )
        self._thread.start()
        assert self._begun.wait(60)

    @property
    def has_ended(self):
        return not self._thread.is_alive()

    @property
    def data(self):
        """Of all server-sent events so far."""
        return [line[6:] for line in list(self.lines) if line.startswith("data: ")]

    def events(self, kind):
        """Those of /v1/events that are of this kind, so far."""
        documents = map(json.loads, self.data)
        return [document for document in documents if document["type"] == kind]

    def _read(self, method, url, **options):
        try:
            with httpx.stream(method, url, timeout=60, **options) as response:
                for line in response.iter_lines():
                    self.lines.append(line)
                    self._begun.set()
        except httpx.HTTPError as error:
            self.failure = error
        self._begun.set()
