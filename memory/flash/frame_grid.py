"""A frame's visual tokens as a grid of features, and coarser versions of that grid."""

from math import isqrt

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from memory.policy_hooks import Tokens
from memory.token_bytes import KeptTokens

Grid = tuple[int, int]
"""Rows and columns."""


def grid_of(tokens: Tokens) -> Grid:
    """Return the grid of a block's visual tokens: a single row if they form no square."""
    if len(tokens.positions) > 1:
        where = tokens.positions[1:, tokens.is_visual.to(tokens.positions.device)]
        rows, columns = (where.amax(dim=1) - where.amin(dim=1) + 1).tolist()
        return rows, columns
    count = int(tokens.is_visual.sum())
    side = isqrt(count)
    return (side, side) if side**2 == count else (1, count)


def within(grid: Grid, side: int) -> Grid:
    """Return a grid of at most `side` cells a side; a single row keeps at most `side` squared."""
    rows, columns = grid
    return (1, min(columns, side**2)) if rows == 1 else (min(rows, side), min(columns, side))


def halved(grid: Grid) -> Grid:
    """Return a grid with a quarter of the cells."""
    rows, columns = grid
    return (1, -(-columns // 4)) if rows == 1 else (-(-rows // 2), -(-columns // 2))


def features_of(tokens: Tokens) -> Float[Tensor, "cells width"]:
    """Return a block's embeddings with the decoder's deepstack features; float32, on the host."""
    parts = [tokens.embeddings[tokens.is_visual]]
    if tokens.deepstack is not None:
        parts += tokens.deepstack.unbind()
    return torch.cat([part.float().cpu() for part in parts], dim=1)


def pooled(features: Float[Tensor, "cells width"], grid: Grid, to: Grid) -> Tensor:
    """Average the cells that fall into each cell of `to`."""
    if grid == to:
        return features
    picture = features.T.unflatten(1, grid)
    return adaptive_avg_pool2d(picture, to).flatten(1).T.contiguous()


def cells(grid: Grid) -> Int[Tensor, "2 cells"]:
    """Return row and column of each cell, in reading order."""
    rows, columns = grid
    return torch.stack(
        [torch.arange(rows).repeat_interleave(columns), torch.arange(columns).repeat(rows)]
    )


def tokens_with(
    features: Float[Tensor, "cells width"],
    positions: Int[Tensor, "axes cells"],
    advance: Int[Tensor, " axes"],
    like: Tokens,
) -> KeptTokens:
    """Make tokens with features as from `features_of`, otherwise like `like`."""
    embeddings, *deepstack = features.to(like.embeddings.dtype).split(
        like.embeddings.shape[1], dim=1
    )
    return KeptTokens(
        embeddings.contiguous(),
        positions,
        advance,
        torch.ones(len(features), dtype=torch.bool),
        like.start_s,
        like.end_s,
        torch.stack(deepstack) if deepstack else None,
    )


def tokens_on(grid: Grid, features: Float[Tensor, "cells width"], like: Tokens) -> KeptTokens:
    """Make a grid's tokens: one after the other, or with three axes as one time step."""
    count = len(features)
    if len(like.positions) == 1:
        return tokens_with(features, torch.arange(count)[None], torch.tensor([count]), like)
    time = torch.zeros(1, count, dtype=torch.long)
    return tokens_with(features, torch.cat([time, cells(grid)]), torch.tensor([1, 0, 0]), like)


def reduced(tokens: Tokens, to: Grid) -> Tokens:
    """Return the block with a grid of `to`; unchanged, woven text included, if it has that grid."""
    grid = grid_of(tokens)
    if grid == to:
        return tokens
    return tokens_on(to, pooled(features_of(tokens), grid, to), tokens)
