"""TokenDropper: blocks of visual tokens in, the same blocks out without what stood still.

Source: Differential Token Drop of TimeChat-Online (https://arxiv.org/abs/2504.17343, section 3), on
features, before the decoder:

    drop v[t, i]  where  cos(v[t, i], r[i]) > tau

Tokens that are kept stand where they stood in the whole block, and the next block stands as far
away as ever. Woven text (times) is always kept.

Differs from the paper:
- r[i] is the token last kept at place i, not v[t-1, i]: against the frame before, a change that is
  slower than tau a frame would be dropped forever. So whatever is dropped looks like a token that
  was kept, tau near;
- a block is kept whole at the start and again at least every `whole_every` blocks. Any window of as
  many blocks thus holds a token for every place: questions see a still scene in the newest blocks,
  and it outlives the oldest ones;
- a block without woven text keeps the token that changed most: no block is empty;
- text that follows stands past the last token kept, the paper's past the last that there was.

What is compared with lives in this process alone. The first block after a restart is whole, and a
stream that goes on after one is not bit by bit the stream that was never stopped.
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
    """The token last kept at each place, and how many blocks ago a block was kept whole."""

    features: Float[Tensor, "visual d_model"]
    places: Int[Tensor, "axes visual"]
    blocks_since_whole: int


class TokenDropper:
    """Drops from the blocks of one stream. However it is cut into chunks, the result is the same.

    `num_dropped` of the `num_visual` visual tokens given so far were dropped.
    """

    def __init__(self, similarity: float, whole_every: int = 0) -> None:
        """A token more like the last kept than `similarity`, a cosine, is dropped; at 1 none is.

        `whole_every` 0: only the first block, and those laid out unlike the one before, are whole.
        """
        self._similarity = similarity
        self._whole_every = whole_every
        self._last: _LastKept | None = None
        self.num_visual = 0
        self.num_dropped = 0

    def drop(self, chunk: Sequence[Tokens]) -> list[Tokens]:
        """The next blocks of the stream, at least one token each; whole ones as they came."""
        return [self._drop_from(block) for block in chunk]

    def forget(self) -> None:
        """Keep the next block whole: what was kept last is not among the stream's blocks."""
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
        # Rounding takes cosines past 1. What is not a number is not dropped: the codec refuses it.
        changed = ~(cosines.clamp(max=1) > self._similarity)
        if not has_text and not changed.any():
            changed[cosines.argmin()] = True
        return changed


def _places(block: Tokens) -> Int[Tensor, "axes visual"]:
    """Where visual tokens stand from the first of them on, however long the text before it is."""
    visual = block.positions[:, block.is_visual.to(block.positions.device)]
    return visual - visual[:, :1]


def _only(block: Any, kept: Bool[Tensor, " visual"]) -> Tokens:
    """`block` with all its text and the visual tokens that are `kept`."""
    tokens = ~block.is_visual
    tokens[block.is_visual] = kept
    return replace(  # type: ignore[no-any-return]
        block,
        embeddings=block.embeddings[tokens],
        positions=block.positions[:, tokens.to(block.positions.device)],
        is_visual=block.is_visual[tokens],
        deepstack=None if block.deepstack is None else block.deepstack[:, kept],
    )
