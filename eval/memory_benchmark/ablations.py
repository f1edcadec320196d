"""Rules that `moments` is measured against: the same policy, but for which tokens stay.

even_moments  evenly spaced tokens, each from the middle of an equal part of the block
mean_moments  the mean key and the mean value of each such part, where its middle token stood, as
              token merging does (ToMe, https://arxiv.org/abs/2210.09461; Flash-VStream)
"""

from dataclasses import replace

import torch
from jaxtyping import Int
from torch import Tensor

from memory.kv_block import KVBlock
from memory.policies.moments import Moments
from memory.policies.uniform import spread


class EvenMoments(Moments):
    """Differs from `moments` in which tokens stay."""

    name = "even_moments"

    def chosen(self, block: KVBlock, num_kept: int) -> Int[Tensor, " kept"]:
        return torch.tensor(spread(range(block.info.num_tokens), num_kept))


class MeanMoments(EvenMoments):
    """Keeps no token as it was."""

    name = "mean_moments"

    def cut(self, block: KVBlock, num_kept: int) -> KVBlock:
        cut = super().cut(block, num_kept)
        parts = torch.arange(block.info.num_tokens) * num_kept // block.info.num_tokens
        weights = (parts == torch.arange(num_kept)[:, None]).to(block.keys.dtype)
        weights /= weights.sum(dim=1, keepdim=True)
        return replace(cut, keys=weights @ block.keys, values=weights @ block.values)


ABLATIONS = {one.name: one for one in (EvenMoments, MeanMoments)}
