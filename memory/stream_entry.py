"""StreamEntry: a stream's place in a store: its Provenance, its note, and the right to write it."""

from typing import Any

from memory.block_info import Provenance
from memory.errors import StoreError


class StreamEntry:
    """Held by the only writer from construction until `close`. This base class stores nothing."""

    failure: StoreError | None = None
    """Why the writer must stop; None while it may go on."""

    def __init__(self, provenance: Provenance) -> None:
        self.provenance = provenance
        self.note: dict[str, Any] = {}
        """The caller's own JSON."""

    def set_note(self, note: dict[str, Any]) -> None:
        """Replace the note atomically. Raises StoreAwayError, StoreError."""
        self.note = note

    def forget_undated(self) -> None:
        """Delete what may show any moment: dialogues, and damaged files that were set aside.

        Raises StoreError.
        """

    def erase(self) -> None:
        """Delete what is left of the stream after its blocks. Raises StoreError."""

    def close(self) -> None:
        """Release the stream for another writer."""
