"""Provenance: what made the blocks of a stream, so that no others are mixed with them."""

from dataclasses import asdict, dataclass, replace
from functools import cached_property
from hashlib import blake2b
from typing import Self

from memory.errors import FingerprintMismatchError

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
