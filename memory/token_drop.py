"""TokenDropper: drops from blocks the visual tokens that did not change.

Source: Differential Token Drop of TimeChat-Online (https://arxiv.org/abs/2504.17343, section 3), on
features, before the decoder:

    drop v[t, i]  where  cos(v[t, i], r[i]) > tau

Kept tokens keep their positions, and the next block stays as far away as ever. Woven text (times)
is always kept.

Differs from the paper:
- r[i] is the last kept token at place i, not v[t-1, i]: compared with the previous frame, a change
  slower than tau per frame would never be seen. So every dropped token is within tau of a kept one;
- a block is kept whole at the start and then at least every `whole_every` blocks. So any window of
  that many blocks has a token for every place: questions see a still scene in the newest blocks,
  and it survives the oldest ones;
- a block without woven text keeps the token that changed most, so no block is empty;
- the text that follows starts after the last kept token; in the paper, after the last token.

The reference tokens exist only in this process. The first block after a restart is whole, so a
restarted stream does not match an uninterrupted one bit by bit.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

from memory.policy_hooks import Tokens


@dataclass(frozen=True, eq=False)
class _LastKept:
    """The last kept token at each place, and how many blocks ago a block was kept whole."""

    features: Float[Tensor, "visual d_model"]
    places: Int[Tensor, "axes visual"]
    blocks_since_whole: int


class TokenDropper:
    """Drops tokens from the blocks of one stream, with the same result for any chunk size.

    `num_dropped` of the `num_visual` visual tokens given so far were dropped.
    """

    def __init__(self, similarity: float, whole_every: int = 0) -> None:
        """Drop tokens whose cosine with the last kept one exceeds `similarity`; 1 drops none.

        With `whole_every` 0, only the first block and blocks of a new layout are kept whole.
        """
        self._similarity = similarity
        self._whole_every = whole_every
        self._last: _LastKept | None = None
        self.num_visual = 0
        self.num_dropped = 0

    def drop(self, chunk: Sequence[Tokens]) -> list[Tokens]:
        """Return the stream's next blocks, at least one token each; whole blocks are unchanged."""
        return [self._drop_from(block) for block in chunk]

    def forget(self) -> None:
        """Keep the next block whole: the last kept tokens did not join the stream."""
        self._last = None

    def _drop_from(self, block: Tokens) -> Tokens:
        features = block.embeddings[block.is_visual]
        places = _places(block)
        self.num_visual += len(features)
        last = self._last
        is_due = last is not None and 0 < self._whole_every <= last.blocks_since_whole + 1
        if last is None or is_due or not torch.equal(places, last.places):
            self._last = _LastKept(features, places, 0)
            return block
        has_text = len(features) < len(block.embeddings)
        kept = self._changed(features, last.features, has_text)
        now = torch.where(kept[:, None], features, last.features)
        self._last = _LastKept(now, places, last.blocks_since_whole + 1)
        self.num_dropped += len(kept) - int(kept.sum())
        return _only(block, kept)

    def _changed(self, features: Tensor, last: Tensor, has_text: bool) -> Bool[Tensor, " visual"]:
        cosines = F.cosine_similarity(features.float(), last.float(), dim=1)
        # Rounding can push a cosine past 1. A nan is not dropped, so that the codec rejects it.
        changed = ~(cosines.clamp(max=1) > self._similarity)
        if not has_text and not changed.any():
            changed[cosines.argmin()] = True
        return changed


def _places(block: Tokens) -> Int[Tensor, "axes visual"]:
    """Return the visual tokens' positions relative to the first, whatever text precedes it."""
    visual = block.positions[:, block.is_visual.to(block.positions.device)]
    return visual - visual[:, :1]


def _only(block: Any, kept: Bool[Tensor, " visual"]) -> Tokens:
    """Return `block` with all of its text and the visual tokens that are `kept`."""
    tokens = ~block.is_visual
    tokens[block.is_visual] = kept
    return replace(  # type: ignore[no-any-return]
        block,
        embeddings=block.embeddings[tokens],
        positions=block.positions[:, tokens.to(block.positions.device)],
        is_visual=block.is_visual[tokens],
        deepstack=None if block.deepstack is None else block.deepstack[:, kept],
    )
