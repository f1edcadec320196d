"""StopStrings: the text of an answer so far in, what comes before the first stop string out."""

from collections.abc import Sequence


class StopStrings:
    """Strings that end an answer and are no part of it."""

    def __init__(self, stops: Sequence[str]) -> None:
        """None of `stops` is empty."""
        self._stops = tuple(stops)

    def __bool__(self) -> bool:
        return bool(self._stops)

    def are_in(self, text: str) -> bool:
        """Whether one of them has been written."""
        return any(stop in text for stop in self._stops)

    def cut(self, text: str) -> str:
        """`text` up to where the first of them begins."""
        found = [text.find(stop) for stop in self._stops]
        return text[: min((at for at in found if at >= 0), default=len(text))]

    def settled(self, text: str) -> str:
        """`cut` without an end that may turn out to be the beginning of one."""
        if self.are_in(text):
            return self.cut(text)
        longest = max(map(len, self._stops), default=1)
        for at in range(max(0, len(text) - longest + 1), len(text)):
            if any(stop.startswith(text[at:]) for stop in self._stops):
                return text[:at]
        return text
