"""LineLog: lines of text that are kept beside the streams of a store, as long as they are new."""

from collections.abc import Callable, Sequence

from memory.closing import Closing


class LineLog(Closing):
    """The newest lines, as many as it was opened for. For one thread at a time. All it does raises
    StoreError, StoreAwayError where the store may come back.
    """

    is_shared = False
    """Whether others may append to them meanwhile."""

    def read(self) -> list[str]:
        """All that there are, oldest first."""
        raise NotImplementedError

    def append(self, lines: Sequence[str]) -> None:
        """They outlive this process; a power cut may cost those of the last seconds."""
        raise NotImplementedError

    def rewrite(self, change: Callable[[str], str | None]) -> None:
        """Put in place of each line what `change` makes of it, and leave out where that is None."""
        raise NotImplementedError
