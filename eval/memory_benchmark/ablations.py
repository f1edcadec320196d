"""Rules that `moments` is compared with: the same policy, except for which tokens stay.

shared_moments  the same tokens in all heads and layers, those of largest mean value norm
even_moments    evenly spaced tokens, each from the middle of an equal part of the block
mean_moments    the mean key and the mean value of each such part, at its middle token's position,
                as token merging does (ToMe, https://arxiv.org/abs/2210.09461; Flash-VStream)
"""

from dataclasses import replace

import torch
from jaxtyping import Int
from torch import Tensor

from memory.kv_block import KVBlock
from memory.policies.moments import Moments
from memory.policies.uniform import spread


class SharedMoments(Moments):
    """Differs from `moments` in that all heads keep the same tokens."""

    name = "shared_moments"

    def cut(self, block: KVBlock, num_kept: int) -> KVBlock:
        at = self.places(block, num_kept)
        info = replace(block.info, positions=block.info.positions[:, at])
        return replace(block, info=info, keys=block.keys[:, :, at], values=block.values[:, :, at])

    def places(self, block: KVBlock, num_kept: int) -> Int[Tensor, " kept"]:
        norms = block.values.double().norm(dim=-1).mean(dim=1).sum(dim=0)
        best: Tensor = norms.sort(descending=True, stable=True).indices[:num_kept]
        return best.sort().values


class EvenMoments(SharedMoments):
    """Ignores the block's numbers."""

    name = "even_moments"

    def places(self, block: KVBlock, num_kept: int) -> Int[Tensor, " kept"]:
        return torch.tensor(spread(range(block.info.num_tokens), num_kept))


class MeanMoments(EvenMoments):
    name = "mean_moments"

    def cut(self, block: KVBlock, num_kept: int) -> KVBlock:
        cut = super().cut(block, num_kept)
        parts = torch.arange(block.info.num_tokens) * num_kept // block.info.num_tokens
        weights = (parts == torch.arange(num_kept)[:, None]).to(block.keys.dtype)
        weights /= weights.sum(dim=1, keepdim=True)
        return replace(cut, keys=weights @ block.keys, values=weights @ block.values)


ABLATIONS = {one.name: one for one in (SharedMoments, EvenMoments, MeanMoments)}
