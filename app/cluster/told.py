"""Told: the events of an answer in, begun again by one worker after another, one answer out.

What a client has heard already is compared with what comes and passed over. So the answer is to the
letter the one that it heard the beginning of, under its `id`, whichever worker says the rest.
"""

import json
import re
from typing import Any

_ID = re.compile(r'"id": "(?:chatcmpl-|resp_)([0-9a-f]+)"')
_CREATED = re.compile(r'"created(?:_at)?": (\d+)')


class OtherAnswerError(Exception):
    """It is not as it was."""


class CutOffError(Exception):
    """The worker ends before its answer does."""


class Told:
    """What of one answer its client has heard."""

    def __init__(self) -> None:
        self.text = ""
        self._num_told = 0
        self._num_others = 0
        """Of which are no words of the answer, as what it rests on."""
        self._first: tuple[str, str] | None = None
        self.begin_again()

    def begin_again(self) -> None:
        """The next event is again the first of the answer."""
        self._heard, self._num_heard = "", 0
        self._now: tuple[str, str] | None = None

    def news(self, event: str) -> str:
        """What of an event is still to be told; may be nothing. Raises OtherAnswerError, and
        CutOffError for an answer that ends with its worker.
        """
        head, _, data = event.rpartition("data: ")
        if not data.startswith("{"):
            return event
        document = json.loads(data)
        if (document.get("error") or {}).get("code") == "cancelled":
            raise CutOffError
        if self._now is None and (found := _ID.search(data)) and (at := _CREATED.search(data)):
            self._now = found[1], at[1]
            self._first = self._first or self._now
        if not self._is_new(document):
            return ""
        if "sequence_number" in document:
            document["sequence_number"] = self._num_told
        self._num_told += 1
        return self._renamed(f"{head}data: {json.dumps(document, ensure_ascii=False)}\n\n")

    def _is_new(self, document: dict[str, Any]) -> bool:
        """Whether something of it has not been told; leaves that in `document`."""
        place, name = _words_of(document)
        if not place or not place[name]:
            self._num_heard += 1
            if self._num_heard <= self._num_others:
                return False
            if len(self._heard) < len(self.text):
                raise OtherAnswerError
            self._num_others += 1
            return True
        self._heard += place[name]
        shorter, longer = sorted((self._heard, self.text), key=len)
        if not longer.startswith(shorter):
            raise OtherAnswerError
        if len(self._heard) <= len(self.text):
            return False
        place[name] = place[name][len(self.text) - len(self._heard) :]
        self.text = self._heard
        return True

    def _renamed(self, event: str) -> str:
        if self._first is None or self._now is None or self._now == self._first:
            return event
        (now, now_at), (first, first_at) = self._now, self._first
        for name in ("created", "created_at"):
            event = event.replace(f'"{name}": {now_at}', f'"{name}": {first_at}')
        return event.replace(now, first)


def _words_of(document: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """Where in an event of a chat or a response words of the answer are; empty where none are."""
    if document.get("type") == "response.output_text.delta":
        return document, "delta"
    choices = document.get("choices") or [{}]
    delta = choices[0].get("delta") or {}
    return (delta, "content") if "content" in delta else ({}, "")
