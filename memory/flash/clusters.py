"""Clusters: the frames seen so far as a bounded number of means, with the facts of each."""

from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from memory.flash.weighted_kmeans import Choice, Distances, Partition, distances, weighted_kmeans


@dataclass(frozen=True, eq=False)
class Clusters:
    """One row per cluster; facts are float64, so that they stay exact however many frames come."""

    rows: Float[Tensor, "clusters cells width"]
    weights: Float[Tensor, " clusters"]
    """How many frames are in it."""
    times: Float[Tensor, " clusters"]
    """The mean of their numbers."""
    first_s: Float[Tensor, " clusters"]
    last_s: Float[Tensor, " clusters"]
    """Stream times of the first and the last of them."""
    frames: Int[Tensor, " clusters"]
    """The block that weighed most when it was last formed; it represents the others."""
    slots: Int[Tensor, " clusters"]
    """The number under which its row is noted; -1: not yet."""
    is_new: Bool[Tensor, " clusters"]
    """Whether the row differs from what is noted."""

    def __len__(self) -> int:
        return len(self.weights)

    @classmethod
    def of_frame(
        cls, row: Float[Tensor, "cells width"], number: int, start_s: float, end_s: float
    ) -> "Clusters":
        return cls(
            row[None],
            weights=_fact(1),
            times=_fact(number),
            first_s=_fact(start_s),
            last_s=_fact(end_s),
            frames=torch.tensor([number]),
            slots=torch.tensor([-1]),
            is_new=torch.tensor([True]),
        )

    @classmethod
    def joined(cls, parts: "Iterable[Clusters]") -> "Clusters":
        """Concatenate them, in this order."""
        each = [[getattr(part, one.name) for one in fields(cls)] for part in parts]
        return cls(*(torch.cat(columns) for columns in zip(*each, strict=True)))

    def at(self, index: Any) -> "Clusters":
        """Select by index, mask or slice."""
        return Clusters(*(getattr(self, one.name)[index] for one in fields(self)))

    def in_order(self) -> "Clusters":
        return self.at(self.times.argsort(stable=True))

    def seen(self, at_s: float) -> "Clusters":
        """Return those without anything after `at_s`."""
        return self.at(self.last_s <= at_s)

    def parted(self, most: int, choice: Choice, far: Distances = distances) -> Partition:
        return weighted_kmeans(self.rows.flatten(1), self.weights, most, choice, far)

    def regrouped(self, part: Partition) -> "Clusters":
        """Return one per cluster of `part`, in its order, empty ones included."""
        belongs = part.share > 0
        heaviest = part.share.argmax(dim=1)
        is_empty, is_mixed = part.weights == 0, belongs.sum(dim=1) > 1
        rows = part.centroids.view(-1, *self.rows.shape[1:])
        return Clusters(
            rows,
            part.weights,
            part.share @ self.times,
            torch.where(belongs, self.first_s, torch.inf).amin(dim=1),
            torch.where(belongs, self.last_s, -torch.inf).amax(dim=1),
            self.frames[heaviest],
            self.slots[heaviest].masked_fill(is_empty, -1),
            is_mixed | is_empty | self.is_new[heaviest],
        )

    def merged(self, most: int, choice: Choice) -> "Clusters":
        """Merge into at most `most`, in stream order; unchanged while there are no more."""
        if len(self) <= most:
            return self
        found = self.regrouped(self.parted(most, choice))
        return found.at(found.weights > 0).in_order()

    def numbered(self) -> "Clusters":
        taken = self.slots.tolist()
        free = (slot for slot in range(len(self)) if slot not in taken)
        slots = [next(free) if slot < 0 else slot for slot in taken]
        return replace(self, slots=torch.tensor(slots, dtype=torch.long))


def _fact(value: float) -> Float[Tensor, " 1"]:
    return torch.tensor([value], dtype=torch.double)
