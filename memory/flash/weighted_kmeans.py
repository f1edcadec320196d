"""weighted_kmeans: merges weighted rows into fewer rows that represent them.

Source: Flash-VStream (https://arxiv.org/abs/2406.08085, section 3.2): Euclidean distances, at most
ten rounds, until all centroids together move by less than 1e-4; a centroid is the weighted mean of
its members, and an empty cluster restarts at a row. Differs: rows are compared after subtracting
their mean, because frames of a still scene differ by less than float32 rounds their norms.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import one_hot

_ROUNDS = 10
_STILL = 1e-4


Distances = Callable[[Tensor, Tensor], Tensor]
"""From rows to others, [rows, others]."""


def distances(
    rows: Float[Tensor, "rows width"], others: Float[Tensor, "others width"]
) -> Float[Tensor, "rows others"]:
    """Return Euclidean distances, exact even between nearly equal frames."""
    mean = rows.mean(dim=0)
    return torch.cdist(rows - mean, others - mean)


class Choice(Protocol):
    """What the paper leaves to chance."""

    def start(self, rows: Float[Tensor, "rows width"], most: int) -> Sequence[int]:
        """Return at most `most` distinct rows to start from."""

    def refill(self, num_rows: int) -> int:
        """Return a row for an empty cluster."""


class Seeded:
    """Makes the same choices for the same seed in every process."""

    def __init__(self, seed: int) -> None:
        self._random = torch.Generator().manual_seed(seed)

    def start(self, rows: Float[Tensor, "rows width"], most: int) -> list[int]:
        chosen: list[int] = []
        sums = rows.sum(dim=1).tolist()  # equal rows have equal sums
        for row in torch.randperm(len(rows), generator=self._random).tolist():
            alike = (one for one in chosen if sums[one] == sums[row])
            if len(chosen) < most and not any(torch.equal(rows[row], rows[one]) for one in alike):
                chosen.append(row)
        return chosen

    def refill(self, num_rows: int) -> int:
        return int(torch.randint(num_rows, (), generator=self._random))


@dataclass(frozen=True, eq=False)
class Partition:
    """Which rows form which centroid."""

    centroids: Float[Tensor, "clusters width"]
    share: Float[Tensor, "clusters rows"]
    """Of each row in each centroid, float64."""
    weights: Float[Tensor, " clusters"]
    """Of a cluster's members; 0 if it was empty in the last round."""
    labels: Int[Tensor, " rows"]


def weighted_kmeans(
    rows: Float[Tensor, "rows width"],
    weights: Float[Tensor, " rows"],
    most: int,
    choice: Choice,
    far: Distances = distances,
) -> Partition:
    """Group rows into at most `most` clusters: as many as `choice` starts from."""
    start = torch.tensor(choice.start(rows, most))
    share = one_hot(start, len(rows)).double()
    centroids, weighted = rows[start], rows * weights.float()[:, None]
    for _ in range(_ROUNDS):
        labels = far(rows, centroids).argmin(dim=1)
        mass = one_hot(labels, len(start)).T * weights.double()
        total = mass.sum(dim=1)
        share = mass / total.clamp_min(1)[:, None]
        sums = torch.zeros_like(centroids).index_add_(0, labels, weighted)
        means = sums / total.clamp_min(1).float()[:, None]
        for empty in (total == 0).nonzero().flatten().tolist():
            row = choice.refill(len(rows))
            share[empty, row], means[empty] = 1, rows[row]
        if (centroids - means).norm(dim=1).sum() < _STILL:
            break
        centroids = means
    return Partition(centroids, share, total, labels)


def nearest(
    wanted: Float[Tensor, "wanted width"],
    rows: Float[Tensor, "rows width"],
    far: Distances = distances,
) -> list[int]:
    """Return the row nearest to each of `wanted`."""
    found: list[int] = far(wanted, rows).argmin(dim=1).tolist()
    return found
