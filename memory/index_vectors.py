"""IndexVectors: what a block is found by, as it is kept: in float32, or in int8.

In int8 the numbers of one vector in one layer share a scale in float16, and one that is read back
and kept again is the same.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
from jaxtyping import Float16, Float32, Int8

from memory.errors import BlockRejectedError

_LARGEST_CODE = 127
_LEAST_SCALE = np.finfo(np.float16).tiny
"""Below it a scale in float16 would be too coarse."""


@dataclass(frozen=True, eq=False)
class IndexVectors:
    """Of one block. A search takes the best of its vectors; the first one stands for the block."""

    numbers: (
        Float32[np.ndarray, "layers vectors features"] | Int8[np.ndarray, "layers vectors features"]
    )
    scales: Float16[np.ndarray, "layers vectors 1"] | None = None
    """None: in float32."""

    @classmethod
    def small(cls, vectors: Float32[np.ndarray, "layers vectors features"]) -> Self:
        """In int8. Raises BlockRejectedError for numbers that are not finite or far too large."""
        wanted = np.abs(vectors).max(axis=2, keepdims=True) / np.float32(_LARGEST_CODE)
        if not (wanted <= np.finfo(np.float16).max).all():
            raise BlockRejectedError(
                "memory: index vectors hold inf, nan or numbers beyond float16; look for the cause "
                "in the model's dtype or weights"
            )
        scales = np.maximum(wanted, _LEAST_SCALE).astype(np.float16)
        is_short = scales.astype(np.float32) < wanted
        scales = np.where(is_short, np.nextafter(scales, np.float16(np.inf)), scales)
        codes = np.rint(vectors / scales.astype(np.float32)).astype(np.int8)
        return cls(codes, scales)

    @classmethod
    def from_bytes(cls, data: bytes, layers: int, features: int, is_small: bool) -> Self:
        """What `to_bytes` gave."""
        if not is_small:
            numbers = np.frombuffer(data, "<f4").astype(np.float32, copy=False)
            return cls(numbers.reshape(layers, -1, features))
        vectors = len(data) // (layers * (features + 2))
        scales = np.frombuffer(data, "<f2", layers * vectors).astype(np.float16)
        codes = np.frombuffer(data, np.int8, offset=scales.nbytes)
        return cls(codes.reshape(layers, vectors, features), scales.reshape(layers, vectors, 1))

    @property
    def is_small(self) -> bool:
        return self.scales is not None

    @property
    def nbytes(self) -> int:
        return self.numbers.nbytes + (0 if self.scales is None else self.scales.nbytes)

    def to_bytes(self) -> bytes:
        if self.scales is None:
            return self.numbers.astype("<f4").tobytes()
        return self.scales.astype("<f2").tobytes() + self.numbers.tobytes()

    def exact(self) -> Float32[np.ndarray, "layers vectors features"]:
        """In float32, as a search compares them."""
        if self.scales is None:
            return self.numbers
        return self.numbers * self.scales.astype(np.float32)
