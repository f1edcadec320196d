"""Told: the events of an answer in, as one worker after another begins it, what is new of them out.

What has been told already is compared with what comes and passed over. So the answer is to the
letter the one whose beginning was told, whichever worker says the rest.
"""

from typing import Any


class OtherAnswerError(Exception):
    """It is not as it was."""


class Told:
    """What of one answer has been told."""

    def __init__(self) -> None:
        self.text = ""
        self._num_told = self._first = 0
        self._num_others = 0
        """Of which are no words of the answer, as what it rests on."""
        self.begin_again()

    def begin_again(self) -> None:
        """The next event is again the first of the answer."""
        self._heard, self._num_heard = "", 0

    def news(self, event: dict[str, Any]) -> dict[str, Any] | None:
        """What of an event is still to be told, if anything. Raises OtherAnswerError."""
        if not self._is_new(event):
            return None
        if "sequence_number" in event:  # who comes back hears those behind the last one
            if not self._num_told:
                self._first = event["sequence_number"]
            event["sequence_number"] = self._first + self._num_told
        self._num_told += 1
        return event

    def _is_new(self, event: dict[str, Any]) -> bool:
        """Whether something of it has not been told; leaves that in `event`."""
        place, name = _words_of(event)
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


def _words_of(event: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """Where in an event of a chat or a response words of the answer are; empty where none are."""
    if event.get("type") == "response.output_text.delta":
        return event, "delta"
    choices = event.get("choices") or [{}]
    delta = choices[0].get("delta") or {}
    return (delta, "content") if "content" in delta else ({}, "")
