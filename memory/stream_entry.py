"""StreamEntry: the place of one stream in a store: what made it, a note, and the right to write."""

from typing import Any, Protocol

from memory.errors import StoreError
from memory.stream_make import StreamMake


class StreamEntry(Protocol):
    """Held by the one writer from its construction until `close`."""

    make: StreamMake
    note: dict[str, Any]
    """The caller's own, JSON."""
    failure: StoreError | None
    """Why the writer must stop, once it must."""

    def set_note(self, note: dict[str, Any]) -> None:
        """Replace the note, whole or not at all. Raises StoreAwayError, StoreError."""
        ...

    def erase(self) -> None:
        """Leave nothing of the stream, whose blocks are gone already. Raises StoreError."""
        ...

    def close(self) -> None:
        """Let another writer have it."""
        ...
