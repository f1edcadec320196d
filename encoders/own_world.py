"""OwnWorld: decides by vision tower features which pictures a model was not trained on."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

FILE = "world.npz"
"""Beside the weights. Not part of their fingerprint: blocks do not depend on it."""
_MOST = 8.0
"""Limit on each feature, in deviations, so that one extreme feature cannot dominate."""
_LEAST_SPREAD = 1e-2


@dataclass(frozen=True, eq=False)
class OwnWorld:
    """Distances along `direction`, which leads from the model's own pictures to all others.
    Features are in deviations (`spread`) from the mean (`centre`) of its own pictures. A picture
    farther than `threshold` is strange. `python -m eval.training.own_world` measures all four.
    """

    centre: Float[Tensor, " features"]
    spread: Float[Tensor, " features"]
    direction: Float[Tensor, " features"]
    threshold: float

    @classmethod
    def read(cls, directory: Path) -> Self | None:
        """Return None if none has been measured."""
        path = directory / FILE
        if not path.exists():
            return None
        with np.load(path, allow_pickle=False) as told:
            centre, spread = torch.tensor(told["centre"]), torch.tensor(told["spread"])
            return cls(centre, spread, torch.tensor(told["direction"]), float(told["threshold"]))

    def write(self, path: Path) -> None:
        np.savez(
            path,
            centre=self.centre.numpy(),
            spread=self.spread.numpy(),
            direction=self.direction.numpy(),
            threshold=self.threshold,
        )

    def scaled(self, features: Float[Tensor, "pictures features"]) -> Float[Tensor, "..."]:
        return ((features - self.centre) / self.spread).clamp(-_MOST, _MOST)

    def distances(self, features: Float[Tensor, "pictures features"]) -> Float[Tensor, " pictures"]:
        """Return how far pictures lie from its own."""
        return self.scaled(features) @ self.direction

    def are_strange(
        self, features: Float[Tensor, "pictures features"]
    ) -> Bool[Tensor, " pictures"]:
        """Return whether they lie farther than the threshold."""
        return self.distances(features) > self.threshold


def pooled(patches: Float[Tensor, "pictures patches dim"]) -> Float[Tensor, "pictures features"]:
    """Return the mean and log spread over a picture's patches, side by side, on the host."""
    spread = (patches.std(1) + _LEAST_SPREAD).log()
    return torch.cat([patches.mean(1), spread], dim=1).float().cpu()
