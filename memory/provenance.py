"""Provenance: what all blocks of one stream have in common, and whether two of them agree."""

from dataclasses import dataclass, fields

from memory.errors import FingerprintMismatchError


@dataclass(frozen=True)
class Provenance:
    """Blocks that differ in it cannot be mixed. `fingerprint` stands for model and settings."""

    fingerprint: str
    layers: int
    kv_heads: int
    head_dim: int

    def require_same(self, stored: "Provenance", where: str) -> None:
        """Raises FingerprintMismatchError naming what was stored, what is wanted, and the fix."""
        if self == stored:
            return
        names = [field.name for field in fields(self)]
        differing = [
            f"{name} {getattr(stored, name)!r} is stored, {getattr(self, name)!r} is wanted"
            for name in names
            if getattr(stored, name) != getattr(self, name)
        ]
        if differing:
            raise FingerprintMismatchError(
                f"{where}: the blocks were made otherwise: {'; '.join(differing)}. Open them with "
                "the model and settings that made them, or choose another stream id or store"
            )
