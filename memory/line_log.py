"""LineLog: keeps the newest lines of text beside the streams of a store."""

from collections.abc import Callable, Sequence

from memory.closing import Closing


class LineLog(Closing):
    """The newest lines, as many as it was opened for. For one thread at a time. All methods raise
    StoreError, or StoreAwayError if the store may come back.
    """

    is_shared = False
    """Whether other processes may append at the same time."""

    def read(self) -> list[str]:
        """Return all lines, oldest first."""
        raise NotImplementedError

    def append(self, lines: Sequence[str]) -> None:
        """Add lines. They outlive this process; a power cut may lose the last seconds'."""
        raise NotImplementedError

    def rewrite(self, change: Callable[[str], str | None]) -> None:
        """Replace each line with what `change` returns for it; None deletes the line."""
        raise NotImplementedError
