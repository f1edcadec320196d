"""CSM with the official code's times, and AM-RoPE: parts of Flash-VStream's second memory.

Source: Flash-VStream (Zhang et al., ICCV 2025, https://arxiv.org/abs/2506.23825).
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
from jaxtyping import Int
from torch import Tensor

from memory.flash.clusters import Clusters
from memory.flash.frame_grid import Grid, cells
from memory.flash.weighted_kmeans import Choice


def published_distances(rows: Tensor, others: Tensor) -> Tensor:
    """Return distances as the official code computes them, so that ties break the same way. Where
    rounding makes a square negative, its root is nan, which counts as the smallest.
    """
    own, other = ((one**2).sum(dim=1) for one in (rows, others))
    return (own[:, None] + other - 2 * (rows @ others.T)).sqrt()


def merged_by_place(clusters: Clusters, most: int, choice: Choice) -> Clusters:
    """Apply the official rule: a cluster's time is the mean of its members' places in the list. If
    fewer frames differ than there is room for, each weighs 1, and the list's first ones fill it up.
    """
    places = torch.arange(len(clusters), dtype=torch.double)
    ones = torch.ones_like(places)
    if len(clusters) <= most:
        return replace(clusters, weights=ones, times=places)
    part = clusters.parted(most, choice, published_distances)
    found = clusters.regrouped(part)
    belongs = (part.labels == torch.arange(len(found))[:, None]).double()
    found = replace(found, times=belongs @ places / belongs.sum(dim=1))
    found = found.at(found.times.float().argsort())
    lacking = most - len(found)
    if not lacking:
        return found
    first = replace(clusters, weights=ones, times=places).at(slice(lacking))
    first = replace(first, slots=torch.full((lacking,), -1), is_new=torch.ones(lacking) > 0)
    return Clusters.joined([first, replace(found, weights=torch.ones_like(found.weights))])


def am_rope(
    dam: Sequence[tuple[int, Grid]], csm: Sequence[tuple[float, Grid]]
) -> Int[Tensor, "3 tokens"]:
    """Return time, row and column of [DAM | CSM]; CSM is offset by DAM's number of tokens."""
    detailed = _placed(dam)
    coarse = _placed([(round(time), grid) for time, grid in csm])
    return torch.cat([detailed, coarse + detailed.shape[1]], dim=1)


def _placed(frames: Sequence[tuple[int, Grid]]) -> Int[Tensor, "3 tokens"]:
    parts = [torch.empty(3, 0, dtype=torch.long)]
    for time, grid in frames:
        where = cells(grid)
        parts.append(torch.cat([torch.full_like(where[:1], time), where]))
    return torch.cat(parts, dim=1)
