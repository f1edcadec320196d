"""flash_vstream: STAR memory, a fixed number of visual tokens that every question reads again.

Source: Flash-VStream (Zhang et al., 2024, https://arxiv.org/abs/2406.08085), section 3.2:

    spatial    the newest frame
    temporal   clusters of all frames, by weighted k-means with weights carried over
    abstract   one token per slot, which absorbs all frames by semantic attention
    retrieved  for each of the heaviest clusters, the nearest frame in a bank of the newest

A question reads [abstract | temporal | retrieved | spatial].
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
    from memory.flash.notes import Banked, Notes


class FlashVStreamSettings(PolicySettings):
    """The sizes are the paper's."""

    rule: Literal["paper", "official"] = Field(
        "paper",
        description="official: as the published code does when it streams, errors included: "
        "weights begin again at every frame, cluster numbers are taken for frame numbers.",
    )
    temporal_frames: int = Field(25, ge=1, description="Clusters of the temporal memory.")
    abstract_frames: int = Field(25, ge=1, description="Tokens of the abstract memory.")
    retrieved_frames: int = Field(3, ge=0, description="Frames that are retrieved.")
    spatial_side: int = Field(8, ge=1, description="Rows and columns of a frame that is read.")
    temporal_side: int = Field(4, ge=1, description="Rows and columns of a cluster.")
    update_ratio: float = Field(
        0.2, ge=0, le=1, description="What the abstract memory takes over from new frames at most."
    )
    bank_frames: int = Field(300, ge=2, description="Newest frames that can be retrieved.")

    @model_validator(mode="after")
    def _bank_holds_what_is_pending(self) -> Self:
        if self.bank_frames < self.abstract_frames:
            raise ValueError("bank_frames must be at least abstract_frames")
        return self


class FlashVStream(NotingPolicy):
    """Notes what the paper calls STAR."""

    name = "flash_vstream"
    card = Card(
        paper="Flash-VStream (Zhang et al., 2024), arXiv 2406.08085",
        keeps="the newest frames at 8 x 8 tokens, and of all frames 25 clusters at 4 x 4 and 25 "
        "tokens; every question reads the newest frame, the clusters, the tokens and 3 frames",
        differs="runs on checkpoints that were not trained for it: semantic attention has no "
        "learned projections; tokens are pooled behind the projector; clusters stand in stream "
        "order; the abstract memory takes 25 frames at a time, as one alone makes all slots alike. "
        "A budget has to hold what is noted, which does not age",
        is_exact=False,
    )
    Settings = FlashVStreamSettings
    settings: FlashVStreamSettings
    own_notes = "abstract", "abstract_times", "abstract_last"

    @staticmethod
    def query(tokens: "Tensor") -> "Tensor":
        """Return slots of the abstract memory unprojected: there are no trained projections."""
        return tokens

    key = query

    def keep_blocks(self) -> int:
        return self.settings.bank_frames

    def noted(self, blocks: Sequence[NewBlock], state: State) -> StateChange:
        """Note several blocks that arrive in one call; under the paper's rule it is always one."""
        import torch

        from memory.flash.clusters import Clusters
        from memory.flash.frame_grid import features_of, grid_of, pooled, reduced, within
        from memory.flash.notes import Notes

        notes, new, means = Notes(state), [], []
        for block in blocks:
            to = within(grid_of(block.tokens), self.settings.spatial_side)
            frame = reduced(block.tokens, to)
            features = features_of(frame)
            coarse = torch.tensor(within(to, self.settings.temporal_side))
            grid = tuple(notes.facts.setdefault("grid", coarse).tolist())
            row = pooled(features, to, grid)
            new.append(Clusters.of_frame(row, block.block_id, frame.start_s, frame.end_s))
            means.append(features.mean(dim=0))
            self._keep_frame(notes, block.block_id, frame)
        self._cluster(notes, Clusters.joined(new))
        self._absorb(notes, torch.stack(means))
        return notes.change()

    def _keep_frame(self, notes: "Notes", number: int, frame: Tokens) -> None:
        """Bank a frame. The official rule only ever retrieves the first frames, so they stay."""
        most = self.settings.bank_frames
        is_paper = self.settings.rule == "paper"
        first = () if is_paper else [one.number for one in notes.bank[: most - 1]]
        notes.take(number, frame, most, first)

    def _cluster(self, notes: "Notes", new: "Clusters") -> None:
        """Merge all frames into at most `temporal_frames` clusters."""
        import torch

        from memory.flash.clusters import Clusters
        from memory.flash.star import merged_unweighted, misread_places

        if notes.clusters is None:
            notes.clusters = new
            return
        most, newest = self.settings.temporal_frames, notes.bank[-1]
        joined = Clusters.joined([notes.clusters, new])
        if len(joined) > most:
            notes.has_merged(newest.end_s)
        choice = self.choice(newest.number)
        if self.settings.rule == "paper":
            notes.clusters = joined.merged(most, choice)
            return
        notes.clusters = merged_unweighted(joined, most, choice)
        count = self.settings.retrieved_frames
        places = misread_places(joined.rows, notes.clusters.weights, count)
        numbers = [notes.bank[place].number for place in places if place < len(notes.bank)]
        notes.facts["retrieved"] = torch.tensor(numbers, dtype=torch.long)

    def _absorb(self, notes: "Notes", new: "Tensor") -> None:
        """Absorb frames [frames, width], one batch of slots at a time; officially, at once."""
        import torch

        most, newest = self.settings.abstract_frames, notes.bank[-1]
        slots = notes.numbers("abstract").view(-1, new.shape[1])
        if self.settings.rule == "paper" and len(slots) == most:
            pending = self._pending(notes, notes.bank)
            if len(pending) < most:
                return
            new = self._means(notes, pending)
        ends_s = notes.facts["abstract_times"].tolist() if len(slots) else []
        ends_s += [newest.end_s] * len(new)
        if len(slots) and len(ends_s) > most:
            ends_s = [newest.end_s] * most
            notes.has_merged(newest.end_s)
        notes.put("abstract", self._absorbed(slots, new) if len(slots) else new)
        notes.facts["abstract_times"] = torch.tensor(ends_s, dtype=torch.double)
        notes.facts["abstract_last"] = torch.tensor(newest.number)

    def _absorbed(self, slots: "Tensor", new: "Tensor") -> "Tensor":
        import torch

        from memory.flash.star import absorbed, attended

        settings = self.settings

        def attend(memory: "Tensor", new: "Tensor") -> "Tensor":
            return attended(memory, new, settings.update_ratio, self.query, self.key)

        return absorbed(torch.cat([slots, new]), settings.abstract_frames, attend)

    def _pending(self, notes: "Notes", bank: "list[Banked]") -> "list[Banked]":
        """Return the frames that the abstract memory has not absorbed yet."""
        return [one for one in bank if one.number > int(notes.facts["abstract_last"])]

    def _means(self, notes: "Notes", frames: "list[Banked]") -> "Tensor":
        import torch

        from memory.flash.frame_grid import features_of

        return torch.stack([features_of(notes.tokens(one)).mean(dim=0) for one in frames])

    def context(self, query: Query, state: State) -> Context:
        from memory.flash.frame_grid import tokens_on
        from memory.flash.notes import Notes

        notes = Notes(state)
        bank = [one for one in notes.bank if one.end_s <= query.at_s]
        if notes.clusters is None or not bank:
            return NOTHING
        newest = notes.tokens(bank[-1])
        clusters = notes.clusters.seen(query.at_s)
        retrieved = self._retrieved(notes, clusters, bank)
        rows, columns = notes.facts["grid"].tolist()
        is_paper = self.settings.rule == "paper"
        alone = clusters.frames[clusters.weights == 1].tolist() if is_paper else []
        return Context(
            [
                *(tokens_on((1, 1), one[None], newest) for one in self._abstract(notes, bank)),
                *(tokens_on((rows, columns), one, newest) for one in clusters.rows),
                *(notes.tokens(one) for one in retrieved),
                newest,
            ],
            [bank[-1].number, *(one.number for one in retrieved), *alone],
        )

    def _abstract(self, notes: "Notes", bank: "list[Banked]") -> "Tensor":
        """Return the abstract slots as they were when the newest frame of `bank` came."""
        slots = notes.numbers("abstract")
        if len(slots):
            slots = slots.view(len(notes.facts["abstract_times"]), -1)
            slots = slots[notes.facts["abstract_times"] <= bank[-1].end_s]
        if len(slots) < self.settings.abstract_frames:
            return slots
        pending = self._pending(notes, bank)
        return self._absorbed(slots, self._means(notes, pending)) if pending else slots

    def _retrieved(
        self, notes: "Notes", clusters: "Clusters", bank: "list[Banked]"
    ) -> "list[Banked]":
        import torch

        from memory.flash.frame_grid import features_of, grid_of, pooled
        from memory.flash.weighted_kmeans import nearest

        count = self.settings.retrieved_frames
        if self.settings.rule == "official":
            numbers = notes.facts["retrieved"].tolist() if "retrieved" in notes.facts else []
            return [one for number in numbers for one in bank if one.number == number]
        if not count or not len(clusters):
            return []
        rows, columns = notes.facts["grid"].tolist()
        kept = [notes.tokens(one) for one in bank]
        maps = [pooled(features_of(one), grid_of(one), (rows, columns)).flatten() for one in kept]
        order = clusters.weights.argsort(descending=True, stable=True)
        wanted = clusters.rows[order[:count]].flatten(1)
        return [bank[at] for at in nearest(wanted, torch.stack(maps))]

    def noted_bytes(self, frames: int, token_bytes: int, float_bytes: int) -> int:
        settings, tokens = self.settings, self.shape.block_tokens()
        blocks = frames // self.shape.frames_per_block
        banked = min(blocks, settings.bank_frames) * min(tokens, settings.spatial_side**2)
        rows = min(blocks, settings.temporal_frames) * min(tokens, settings.temporal_side**2)
        rows += min(blocks, settings.abstract_frames)
        return (banked * token_bytes + rows * float_bytes) // tokens
