"""BlockInfo: what is known of a block besides its keys and values; RowLayout and RowForm, which
describe its rows; Provenance, which says what made it.

Needs no torch, so a store can report what it holds in a fraction of a second.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Self

from memory.errors import FingerprintMismatchError

if TYPE_CHECKING:
    import numpy as np
    import torch
    from jaxtyping import Int
    from torch import Tensor

DTYPE_NAMES = ("float32", "bfloat16", "float16")
"""The dtypes a block may have, in the order of their numbers in a record."""
_DIGEST = "digest:"


@dataclass(frozen=True, eq=False)
class BlockInfo:
    """What is known of a block without touching its keys and values.

    `positions` (relative to the block's base) and `advance` are the encoder's, for the kept tokens.
    """

    start_s: float
    end_s: float
    captured_at: float
    positions: Int[Tensor, "axes tokens"] = field(repr=False)
    advance: Int[Tensor, " axes"] = field(repr=False)

    @classmethod
    def read(
        cls, start_s: float, end_s: float, captured_at: float, places: Int[np.ndarray, "axes ends"]
    ) -> Self:
        """Return the info of a stored block: `places` holds its positions, then `advance` as the
        last column. They become tensors when first accessed.
        """
        info = cls.__new__(cls)
        vars(info).update(start_s=start_s, end_s=end_s, captured_at=captured_at, _places=places)
        return info

    def __getattr__(self, name: str) -> Any:
        if name not in ("positions", "advance") or "_places" not in vars(self):
            raise AttributeError(name)
        import torch

        places = torch.from_numpy(vars(self)["_places"])
        vars(self).update(positions=places[:, :-1], advance=places[:, -1])
        return vars(self)[name]

    @property
    def num_tokens(self) -> int:
        places = vars(self).get("_places")
        return int(self.positions.shape[1] if places is None else places.shape[1] - 1)


@dataclass(frozen=True)
class RowLayout:
    """Rows of equal layout can be decoded together. `dtype_name` is the block's own."""

    kv_heads: int
    tokens: int
    head_dim: int
    dtype_name: str

    @classmethod
    def of(cls, keys: Tensor) -> Self:
        """Return the layout of a block's `keys` [layers, kv_heads, tokens, head_dim]."""
        _, kv_heads, tokens, head_dim = keys.shape
        return cls(kv_heads, tokens, head_dim, str(keys.dtype).removeprefix("torch."))

    @property
    def dtype(self) -> torch.dtype:
        import torch

        found: torch.dtype = getattr(torch, self.dtype_name)
        return found

    @property
    def numel(self) -> int:
        """Numbers in the keys of one layer (its values have as many)."""
        return self.kv_heads * self.tokens * self.head_dim


@dataclass(frozen=True)
class RowForm:
    """A codec's name and the layout of what it encoded."""

    codec: str
    layout: RowLayout


@dataclass(frozen=True)
class Provenance:
    """What made blocks: different ones never mix. `fingerprint` stands for model and settings."""

    fingerprint: str
    layers: int
    kv_heads: int
    head_dim: int

    @classmethod
    def of_digest(cls, digest: bytes, layers: int, kv_heads: int, head_dim: int) -> Self:
        """Make one from a fingerprint's digest when only that is known; see `is_whole`."""
        return cls(_DIGEST + digest.hex(), layers, kv_heads, head_dim)

    @property
    def is_whole(self) -> bool:
        """Whether the fingerprint is known, not just its digest."""
        return not self.fingerprint.startswith(_DIGEST)

    @cached_property
    def digest(self) -> bytes:
        """The 8-byte digest of the fingerprint."""
        if not self.is_whole:
            return bytes.fromhex(self.fingerprint.removeprefix(_DIGEST))
        return blake2b(self.fingerprint.encode(), digest_size=8).digest()

    def require_same(self, stored: Provenance, where: str) -> None:
        """Raise FingerprintMismatchError, naming what is stored, what is wanted and the fix.

        A fingerprint equals its digest.
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
