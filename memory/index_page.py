"""IndexPage: representative keys of some blocks in host RAM; exact scores of them out."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float32, Int64
from torch import Tensor

from memory.best_blocks import MIN_NORM, Similarity, as_slice

_DENSE = 4
"""Where one of so many rows is wanted, all of them are read."""


@dataclass(eq=False)
class IndexPage:
    """Rows from `first` on. It never moves."""

    first: int
    exact: Float32[np.ndarray, "rows layers features"]
    norms: Float32[np.ndarray, "rows layers"]
    codes: Tensor | None = None
    """int8 [layers, rows, features] on the device, where it has room for them."""
    centre: Float32[np.ndarray, "layers features"] | None = None
    """Where its codes have their zero, on the host; None before there are any. Keys often have a
    large part that is the same in many blocks, and another one by night: it must not take the
    codes.
    """
    live: int = 0
    """Rows that hold a block."""

    @classmethod
    def empty(cls, first: int, rows: int, layers: int, features: int) -> "IndexPage":
        exact = torch.empty(rows, layers, features).numpy()  # numpy asks for huge pages
        return cls(first, exact, np.empty((rows, layers), dtype=np.float32))

    @property
    def end(self) -> int:
        return self.first + len(self.exact)

    @property
    def is_full(self) -> bool:
        return self.live == len(self.exact)

    def write(
        self, place: Int64[np.ndarray, " some"], keys: Float32[Tensor, "some layers features"]
    ) -> None:
        """Into rows that rise."""
        to = as_slice(place)
        self.exact[to] = keys.numpy()
        self.norms[to] = keys.norm(dim=2).clamp_min_(MIN_NORM).numpy()

    def scores(
        self,
        layer: int,
        query: Float32[Tensor, " features"],
        place: Int64[np.ndarray, " some"],
        similarity: Similarity,
    ) -> Float32[np.ndarray, " some"]:
        """Of rows that rise; `query` is of length 1 for the cosine."""
        keys, end = self.exact[:, layer], int(place[-1]) + 1
        if _DENSE * len(place) > end:
            scores = torch.mv(torch.from_numpy(keys[:end]), query).numpy()[place]
        else:
            scores = keys[place] @ query.numpy()
        if similarity == "cosine":
            scores /= self.norms[place, layer]
        return scores
