"""StreamEntry: a stream's place in a store: its Provenance, its note, and the right to write."""

from dataclasses import asdict, dataclass, replace
from functools import cached_property
from hashlib import blake2b
from typing import Any, Self

from memory.errors import FingerprintMismatchError, StoreError

_DIGEST = "digest:"


@dataclass(frozen=True)
class Provenance:
    """Blocks that differ in it cannot be mixed. `fingerprint` stands for model and settings."""

    fingerprint: str
    layers: int
    kv_heads: int
    head_dim: int

    @classmethod
    def of_digest(cls, digest: bytes, layers: int, kv_heads: int, head_dim: int) -> Self:
        """Of a fingerprint that is known by its digest alone; see `is_whole`."""
        return cls(_DIGEST + digest.hex(), layers, kv_heads, head_dim)

    @property
    def is_whole(self) -> bool:
        """Whether the fingerprint is more than a digest."""
        return not self.fingerprint.startswith(_DIGEST)

    @cached_property
    def digest(self) -> bytes:
        """8 bytes for the fingerprint."""
        if not self.is_whole:
            return bytes.fromhex(self.fingerprint.removeprefix(_DIGEST))
        return blake2b(self.fingerprint.encode(), digest_size=8).digest()

    def require_same(self, stored: "Provenance", where: str) -> None:
        """Raises FingerprintMismatchError naming what was stored, what is wanted, and the fix.

        A fingerprint is the same as its digest.
        """
        is_short = not (self.is_whole and stored.is_whole)
        if is_short and self.digest == stored.digest:
            stored = replace(stored, fingerprint=self.fingerprint)
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
