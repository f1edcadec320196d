"""flash_memory: a whole stream in low-resolution clusters, and its densest moments in detail.

Source: Flash-VStream (Zhang et al., ICCV 2025, https://arxiv.org/abs/2506.23825):

    CSM   clusters of all grids at a quarter of the tokens: weighted k-means, with weights and
          times carried over, in order of time
    DAM   for each of the heaviest clusters, the nearest grid in a bank, with all of its tokens;
          all grids while there are no more

A question reads [DAM | CSM]. With three rotary axes, AM-RoPE places a grid at its number and a
cluster at the mean of its grids' numbers; text continues as if they were ordinary tokens.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, Self

from pydantic import Field, model_validator

from memory.flash.noting_policy import NotingPolicy
from memory.policies.policy import Card, PolicySettings
from memory.policy_hooks import NOTHING, Context, NewBlock, Query, State, StateChange, Tokens

if TYPE_CHECKING:
    from torch import Tensor

    from memory.flash.clusters import Clusters
    from memory.flash.frame_grid import Grid
    from memory.flash.notes import Banked, Notes


class FlashMemorySettings(PolicySettings):
    """The sizes are the paper's, except the bank, which the paper does not bound."""

    rule: Literal["paper", "official"] = Field(
        "paper",
        description="official: as the published code does, errors included: a cluster's time is "
        "the mean of places in a list, and where few frames differ all weights begin again.",
    )
    csm_grids: int = Field(60, ge=1, description="Clusters, in frames or temporal grids.")
    dam_grids: int = Field(30, ge=0, description="Frames or grids that are read in detail.")
    bank_grids: int = Field(
        120, ge=2, description="Frames or grids that are kept in detail, more than clusters."
    )

    @model_validator(mode="after")
    def _bank_holds_one_for_each_cluster(self) -> Self:
        if not self.dam_grids <= self.csm_grids < self.bank_grids:
            raise ValueError("dam_grids <= csm_grids < bank_grids must hold")
        return self


class FlashMemory(NotingPolicy):
    """Notes what the paper calls CSM, and the bank from which DAM is chosen."""

    name = "flash_memory"
    card = Card(
        paper="Flash-VStream (Zhang et al., ICCV 2025), arXiv 2506.23825",
        keeps="of all frames 60 clusters at a quarter of the tokens, and 120 frames in detail; "
        "every question reads the clusters and 30 of those frames",
        differs="runs on checkpoints that were not trained for it; low resolution is the mean of "
        "2 x 2 visual tokens, not a second pass over a smaller picture; the bank is bounded: the "
        "oldest frame goes that stands for no cluster; on three rotary axes text woven into frames "
        "is left out, on one axis tokens stand one after the other. A budget has to hold what is "
        "noted, which does not age",
        is_exact=False,
    )
    Settings = FlashMemorySettings
    settings: FlashMemorySettings

    def low(self, tokens: Tokens) -> "tuple[Grid, Tensor]":
        """Return a block's grid at low resolution and its features, [cells, width]."""
        from memory.flash.frame_grid import features_of, grid_of, halved, pooled

        grid = grid_of(tokens)
        to = halved(grid)
        return to, pooled(features_of(tokens), grid, to)

    def keep_blocks(self) -> int:
        return self.settings.bank_grids

    def noted(self, blocks: Sequence[NewBlock], state: State) -> StateChange:
        """Note several blocks that arrive in one call."""
        import torch

        from memory.flash.clusters import Clusters
        from memory.flash.csm import merged_by_place
        from memory.flash.frame_grid import pooled
        from memory.flash.notes import Notes

        most, notes = self.settings.csm_grids, Notes(state)
        parts = [notes.clusters] if notes.clusters is not None else []
        for block in blocks:
            tokens, (grid, row) = block.tokens, self.low(block.tokens)
            to = tuple(notes.facts.setdefault("grid", torch.tensor(grid)).tolist())
            row = pooled(row, grid, to)
            parts.append(Clusters.of_frame(row, block.block_id, tokens.start_s, tokens.end_s))
        clusters, choice = Clusters.joined(parts), self.choice(blocks[-1].block_id)
        if len(clusters) > most:
            notes.has_merged(blocks[-1].tokens.end_s)
        if self.settings.rule == "official":
            notes.clusters = merged_by_place(clusters, most, choice)
        else:
            notes.clusters = clusters.merged(most, choice)
        needed = set(notes.clusters.frames.tolist())
        for block in blocks:
            notes.take(block.block_id, block.tokens, self.settings.bank_grids, needed)
        return notes.change()

    def context(self, query: Query, state: State) -> Context:
        import torch

        from memory.flash.csm import am_rope
        from memory.flash.frame_grid import features_of, grid_of, tokens_on, tokens_with
        from memory.flash.notes import Notes

        notes = Notes(state)
        bank = [one for one in notes.bank if one.end_s <= query.at_s]
        if notes.clusters is None or not bank:
            return NOTHING
        clusters = notes.clusters.seen(query.at_s)
        dam = self._dam(notes, clusters, bank)
        detailed = [notes.tokens(one) for one in dam]
        rows, columns = notes.facts["grid"].tolist()
        shown = [one.number for one in dam]
        like = notes.tokens(bank[-1])
        if len(like.positions) == 1:
            coarse = [tokens_on((rows, columns), one, like) for one in clusters.rows]
            return Context([*detailed, *coarse], shown)
        positions = am_rope(
            [(one.number, grid_of(kept)) for one, kept in zip(dam, detailed, strict=True)],
            [(time, (rows, columns)) for time in clusters.times.tolist()],
        )
        parts = [*(features_of(one) for one in detailed), *clusters.rows]
        tokens = tokens_with(torch.cat(parts), positions, positions[:, -1] + 1, like)
        return Context([tokens], shown, text_from=positions.shape[1])

    def _dam(self, notes: "Notes", clusters: "Clusters", bank: "list[Banked]") -> "list[Banked]":
        """Choose the frames nearest the heaviest clusters, in that order; one may appear twice."""
        import torch

        from memory.flash.csm import published_distances
        from memory.flash.frame_grid import pooled
        from memory.flash.weighted_kmeans import distances, nearest

        count = self.settings.dam_grids
        if len(bank) <= count:
            return bank
        if not count or not len(clusters):
            return []
        rows, columns = notes.facts["grid"].tolist()
        low = [self.low(notes.tokens(one)) for one in bank]
        maps = [pooled(row, grid, (rows, columns)).flatten() for grid, row in low]
        is_paper = self.settings.rule == "paper"
        order = clusters.weights.float().argsort(descending=True, stable=is_paper)
        wanted = clusters.rows[order[:count]].flatten(1)
        far = distances if is_paper else published_distances
        return [bank[at] for at in nearest(wanted, torch.stack(maps), far)]

    def noted_bytes(self, frames: int, token_bytes: int, float_bytes: int) -> int:
        settings, blocks = self.settings, frames // self.shape.frames_per_block
        rows = min(blocks, settings.csm_grids) * float_bytes // 4
        return min(blocks, settings.bank_grids) * token_bytes + rows
