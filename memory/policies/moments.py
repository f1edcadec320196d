"""moments: `default`, but an old block keeps only the few tokens that matter most, and a run of
similar old blocks keeps only its first and last.

Source: InfiniPot-V ranks tokens by the norm of their values (Kim et al., NeurIPS 2025,
https://arxiv.org/abs/2506.15745: value norm, VaN); here each key head does so by itself:

    score[layer, head, i] = |v[layer, head, i]|

Differs from the paper: there the tokens of a full cache compete, and an evicted token cannot be
found again. Here each block keeps its own best tokens and is found by the mean key of the whole
block. So a question reads the same blocks, but less of each.

A block has one list of positions, `p`, but its heads keep different tokens. So a key that stood at
`q` is stored as R(q - p) k, where R is the model's own rotation. Placed at base b, it becomes
R(b + p) R(q - p) k = R(b + q) k, the same as before. q - p is smaller than the block, so this loses
no precision. Values are stored unchanged.

Two bits hold twice the tokens in the same bytes, and what a run drops pays for more tokens at its
ends (docs/experiments.md).

A block is cut after it has left the windows, using only its own numbers; whether it stays depends
on its 15 neighbours alone. So every process and every restart writes the same bytes.
"""

from bisect import bisect_left
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from pydantic import Field

from memory.ageing import ALIKE, AgeingStep, AgingBlocks, next_step, run_ends
from memory.moment_choice import choose_moments
from memory.policies.default import Default, DefaultSettings
from memory.policies.policy import Card, Past, Similarity
from memory.policy_hooks import State

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor

    from memory.block_store import Span
    from memory.kv_block import KVBlock

_CANDIDATES = 8
"""The moments are built from this many times as many blocks as are read."""
_LEAST = 1e-12


class MomentsSettings(DefaultSettings):
    """The settings of `default`, and how much of an old block is kept."""

    tokens: float = Field(
        1 / 3,
        gt=0,
        description="Tokens that stay of a block once it has left the windows; below 1: the share "
        "of its tokens, at least one.",
    )
    alike: float | None = Field(
        0.88,
        gt=0,
        le=1,
        description="Old blocks whose mean keys have at least this cosine with those of the run's "
        "first, in the mean over layers, are a run, of which the first and the last block stay; "
        "unset: all blocks.",
    )
    old_codec: str | None = Field(
        "int2_token", description="Codec of those blocks; unset: that of the stream's new ones."
    )
    retrieve_moments: bool = Field(
        False,
        description="A question reads the best, the first and the last block of the moments most "
        "like it, and of the first and the last moment that are nearly as like; off: the blocks "
        "most like it, as default.",
    )


class Moments(Default):
    """Differs from `default` in which old blocks stay, in what `rewrite` makes of them, and in
    which age first: a run of similar blocks loses its inner ones before its first and last.
    """

    name = "moments"
    card = Card(
        paper="value norms of InfiniPot-V (Kim et al., NeurIPS 2025), arXiv 2506.15745; ReKV",
        keeps="blocks, each found by all of it; of those that left the windows only the tokens of "
        "largest value norm in each head, and of a run of alike ones the first and the last",
        differs="kept and retrieved block by block; no zoom: the store holds a block once",
        is_exact=False,
    )
    Settings = MomentsSettings
    settings: MomentsSettings
    changes_store = True
    sees_beside = True

    def rewrite(self, old: "KVBlock", block_id: int, state: State) -> "KVBlock":
        """Return the block cut down, or itself if all of its tokens stay."""
        num_kept = self.num_kept(old.info.num_tokens)
        return old if num_kept >= old.info.num_tokens else self.cut(old, num_kept)

    def outlasting(self, keys: "Float[Tensor, 'layers blocks features']") -> Collection[int]:
        alike = self.settings.alike
        return range(keys.shape[1]) if alike is None else run_ends(keys, alike)

    def rewritten_codec(self) -> str | None:
        return self.settings.old_codec

    def num_kept(self, num_tokens: int) -> int:
        tokens = self.settings.tokens
        return max(1, round(tokens * num_tokens if tokens < 1 else tokens))

    def cut(self, block: "KVBlock", num_kept: int) -> "KVBlock":
        """Return the block with that many tokens per head; searches still find it as before."""
        import torch

        assert self.shape.rotate is not None, "blocks are cut where there is a model"
        at = self.chosen(block, num_kept)
        keys, values = (
            torch.take_along_dim(all_of, at[..., None], dim=2)
            for all_of in (block.keys, block.values)
        )
        stood = block.info.positions[:, at]
        placed = stood.double().mean(dim=(1, 2)).round().long()
        offsets = (stood - placed[:, None, None]).flatten(1)
        turned = self.shape.rotate(keys.reshape(1, -1, keys.shape[-1]), offsets).view_as(keys)
        info = replace(block.info, positions=placed)
        return replace(block, info=info, keys=turned, values=values)

    def chosen(self, block: "KVBlock", num_kept: int) -> "Int[Tensor, 'layers kv_heads kept']":
        """Choose which tokens each head keeps, in token order; the first of equals wins."""
        norms = block.values.double().norm(dim=-1)
        best: Tensor = norms.sort(dim=-1, descending=True, stable=True).indices[..., :num_kept]
        return best.sort(dim=-1).values

    def select(self, layer: int, query: "Tensor", past: Past) -> list[int]:
        num_blocks = self.retrieve_blocks()
        if not self.settings.retrieve_moments or not num_blocks:
            return super().select(layer, query, past)
        similarity: Similarity = self.settings.similarity or self.shape.similarity
        ids = past.search([layer], query[None], _CANDIDATES * num_blocks, similarity)
        keys = past.keys(ids)[layer].float()
        keys = keys / keys.norm(dim=-1, keepdim=True).clamp_min(_LEAST)
        scores = keys @ (query / query.norm().clamp_min(_LEAST)).to(keys)
        like_next = (keys[1:] * keys[:-1]).sum(dim=-1)
        places = [bisect_left(past.ids, block_id) for block_id in ids]
        told = scores.tolist(), like_next.tolist()
        chosen = choose_moments(places, *told, ALIKE, num_blocks)
        return [past.ids[place] for place in chosen]

    def age(self, spans: "Sequence[Span]", blocks: AgingBlocks) -> AgeingStep | None:
        return next_step(spans, blocks, run_ends)
