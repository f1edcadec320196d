"""SentEvents: keeps what new workers say of an answer consistent with what was already sent.

Events that were sent already are compared with what comes and dropped. So the answer continues the
one that was begun, to the letter, whichever worker gives the rest.
"""

from typing import Any


class OtherAnswerError(Exception):
    """The answer differs from what was sent."""


class SentEvents:
    """The part of one answer that has been sent."""

    def __init__(self) -> None:
        self.text = ""
        self._num_sent = self._first = 0
        self._num_others = 0
        """Events sent that hold no words of the answer, such as its evidence."""
        self.begin_again()

    def begin_again(self) -> None:
        """Take the next event as the first of the answer again."""
        self._received, self._num_received = "", 0

    def news(self, event: dict[str, Any]) -> dict[str, Any] | None:
        """Return what of an event is still to be sent, if anything. Raises OtherAnswerError."""
        if not self._is_new(event):
            return None
        if "sequence_number" in event:  # a client that comes back wants those after its last one
            if not self._num_sent:
                self._first = event["sequence_number"]
            event["sequence_number"] = self._first + self._num_sent
        self._num_sent += 1
        return event

    def _is_new(self, event: dict[str, Any]) -> bool:
        """Whether part of it has not been sent; leaves only that part in `event`."""
        place, name = _words_of(event)
        if not place or not place[name]:
            self._num_received += 1
            if self._num_received <= self._num_others:
                return False
            if len(self._received) < len(self.text):
                raise OtherAnswerError
            self._num_others += 1
            return True
        self._received += place[name]
        shorter, longer = sorted((self._received, self.text), key=len)
        if not longer.startswith(shorter):
            raise OtherAnswerError
        if len(self._received) <= len(self.text):
            return False
        place[name] = place[name][len(self.text) - len(self._received) :]
        self.text = self._received
        return True


def _words_of(event: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """Return the dictionary and key that hold an event's words of the answer; empty if none do."""
    if event.get("type") == "response.output_text.delta":
        return event, "delta"
    choices = event.get("choices") or [{}]
    delta = choices[0].get("delta") or {}
    return (delta, "content") if "content" in delta else ({}, "")
