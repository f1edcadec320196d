"""StreamEntry: a stream's place in a store: its Provenance, its note, and the right to write."""

from dataclasses import asdict, dataclass
from typing import Any

from memory.errors import FingerprintMismatchError, StoreError


@dataclass(frozen=True)
class Provenance:
    """Blocks that differ in it cannot be mixed. `fingerprint` stands for model and settings."""

    fingerprint: str
    layers: int
    kv_heads: int
    head_dim: int

    def require_same(self, stored: "Provenance", where: str) -> None:
        """Raises FingerprintMismatchError naming what was stored, what is wanted, and the fix."""
        if self != stored:
            made, wanted = asdict(stored), asdict(self)
            differing = [
                f"{name} {made[name]!r} is stored, {wanted[name]!r} is wanted"
                for name in made
                if made[name] != wanted[name]
            ]
            raise FingerprintMismatchError(
                f"{where}: the blocks were made otherwise: {'; '.join(differing)}. Open them with "
                "the model and settings that made them, or choose another stream id or store"
            )


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

    def erase(self) -> None:
        """Leave nothing of the stream, whose blocks are gone already. Raises StoreError."""

    def close(self) -> None:
        """Let another writer have it."""
