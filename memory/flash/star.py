"""STAR: the parts of Flash-VStream's first memory besides its clusters.

Source: Flash-VStream (https://arxiv.org/abs/2406.08085, section 3.2).
"""

from collections.abc import Callable
from dataclasses import replace
from math import sqrt

import torch
from jaxtyping import Float
from torch import Tensor

from memory.flash.clusters import Clusters
from memory.flash.weighted_kmeans import Choice, nearest

Projection = Callable[[Tensor], Tensor]


def attended(
    memory: Float[Tensor, "slots width"],
    new: Float[Tensor, "frames width"],
    ratio: float,
    query: Projection,
    key: Projection,
) -> Float[Tensor, "slots width"]:
    """Semantic attention: each slot trades up to `ratio` of itself for frames like it. With s =
    ratio softmax(query(m) key(a)^T / sqrt(d)), return m (1 - sum s) + s a.
    """
    asked, told = query(memory), key(new)
    share = ratio * (asked @ told.T / sqrt(asked.shape[1])).softmax(dim=1)
    return memory * (1 - share.sum(dim=1, keepdim=True)) + share @ new


def absorbed(
    frames: Float[Tensor, "frames width"], most: int, attend: Callable[[Tensor, Tensor], Tensor]
) -> Float[Tensor, "slots width"]:
    """Build the abstract memory: the first `most` frames absorb all others, `most` at a time."""
    memory: Tensor
    memory, *others = frames.split(most)
    for new in others:
        memory = attend(memory, new)
    return memory


def published_distances(rows: Tensor, others: Tensor) -> Tensor:
    """Return distances as the official code computes them, so that ties break the same way."""
    return ((rows[:, None] - others[None]) ** 2).sum(dim=2).sqrt()


def merged_unweighted(clusters: Clusters, most: int, choice: Choice) -> Clusters:
    """Apply the official streaming rule: every frame and every centroid weighs 1 in every call."""
    clusters = replace(clusters, weights=torch.ones_like(clusters.weights))
    if len(clusters) <= most:
        return clusters
    return clusters.regrouped(clusters.parted(most, choice, published_distances))


def misread_places(rows: Tensor, weights: Tensor, count: int) -> list[int]:
    """Apply the official retrieval, which confuses numbers: it uses cluster numbers as places in
    `rows`, the inputs of k-means, and then those places as frame numbers since the stream began.
    """
    places = weights.float().argsort(descending=True)[:count]
    flat = rows.flatten(1)
    return nearest(flat[places], flat, published_distances)
