"""StreamEntry: a stream's place in a store: its Provenance, its note, and the right to write."""

from typing import Any

from memory.block_info import Provenance
from memory.errors import StoreError


class StreamEntry:
    """Held by the one writer from its construction until `close`. This one keeps nothing."""

    failure: StoreError | None = None
    """Why the writer must stop, once it must."""

    def __init__(self, provenance: Provenance) -> None:
        self.provenance = provenance
        self.note: dict[str, Any] = {}
        """The caller's own, JSON."""

    def set_note(self, note: dict[str, Any]) -> None:
        """Replace the note, whole or not at all. Raises StoreAwayError, StoreError."""
        self.note = note

    def forget_dialogues(self) -> None:
        """Delete all that was said about the stream. Raises StoreError."""

    def erase(self) -> None:
        """Leave nothing of the stream, whose blocks are gone already. Raises StoreError."""

    def close(self) -> None:
        """Let another writer have it."""
