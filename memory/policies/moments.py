"""moments: default, but of an old block only the few tokens stay that say most of it.

Source: tokens are ranked by the norm of their values, as VaN of InfiniPot-V (Kim et al., NeurIPS
2025, https://arxiv.org/abs/2506.15745, section 4) does:

    score[i] = sum over layers of the mean over heads of |v[i]|

Differs from the paper: there the tokens of a full cache compete, and what goes cannot be found any
more. Here each block keeps its own best tokens, as they are and where they stood, and is found by
the mean key of the whole block: which blocks a question reads does not change, what it reads of
them shrinks. All layers keep the same tokens, for a block has one list of positions.

A block is cut once it has left the windows, by its own numbers alone, so every process and every
restart makes the same bytes of it.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from pydantic import Field

from memory.ageing import AgeingStep, AgingBlocks, next_step, run_ends
from memory.policies.default import Default, DefaultSettings
from memory.policies.policy import Card
from memory.policy_hooks import State

if TYPE_CHECKING:
    from jaxtyping import Int
    from torch import Tensor

    from memory.block_store import Span
    from memory.kv_block import KVBlock


class MomentsSettings(DefaultSettings):
    """Those of default, and what stays of an old block."""

    tokens: float = Field(
        1 / 12,
        gt=0,
        description="Tokens that stay of a block once it has left the windows; below 1: the share "
        "of its tokens, at least one.",
    )
    old_codec: str | None = Field(
        "int4", description="Codec of those blocks; unset: that of the stream's new ones."
    )


class Moments(Default):
    """Differs from default in what `rewrite` makes of old blocks, and in which of them age first:
    in a run of alike blocks those inside go before its first and its last.
    """

    name = "moments"
    card = Card(
        paper="value norms of InfiniPot-V (Kim et al., NeurIPS 2025), arXiv 2506.15745; ReKV",
        keeps="every block, found by all of it; of those that left the windows only the tokens of "
        "largest value norm",
        differs="kept and retrieved block by block; every layer keeps the same tokens; no zoom: "
        "the store holds a block once",
        is_exact=False,
    )
    Settings = MomentsSettings
    settings: MomentsSettings
    changes_store = True

    def rewrite(self, old: "KVBlock", block_id: int, state: State) -> "KVBlock":
        """The block itself where all of its tokens stay."""
        num_kept = self.num_kept(old.info.num_tokens)
        return old if num_kept >= old.info.num_tokens else self.cut(old, num_kept)

    def rewritten_codec(self) -> str | None:
        return self.settings.old_codec

    def num_kept(self, num_tokens: int) -> int:
        told = self.settings.tokens
        return max(1, round(told * num_tokens if told < 1 else told))

    def cut(self, block: "KVBlock", num_kept: int) -> "KVBlock":
        """The block with so many of its tokens; it is still found as before."""
        at = self.chosen(block, num_kept)
        info = replace(block.info, positions=block.info.positions[:, at])
        keys, values = block.keys[:, :, at], block.values[:, :, at]
        return replace(block, info=info, keys=keys, values=values)

    def chosen(self, block: "KVBlock", num_kept: int) -> "Int[Tensor, ' kept']":
        """Which tokens stay, in their order; of equals the first."""
        norms = block.values.double().norm(dim=-1).mean(dim=1).sum(dim=0)
        best: Tensor = norms.sort(descending=True, stable=True).indices[:num_kept]
        return best.sort().values

    def age(self, spans: "Sequence[Span]", blocks: AgingBlocks) -> AgeingStep | None:
        return next_step(spans, blocks, run_ends)
