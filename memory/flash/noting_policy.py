"""NotingPolicy: what Flash-VStream's two memories have in common, but for what they note."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from memory.policies.policy import Encoding, MemoryPolicy
from memory.policy_hooks import NewBlock, State, StateChange

if TYPE_CHECKING:
    from memory.flash.weighted_kmeans import Choice
    from memory.kv_block import KVBlock

_CHUNK = 8
"""Blocks are never read: they see so few that encoding them is cheap, so many at a time."""


class NotingPolicy(MemoryPolicy):
    """A block stays for its picture alone; what is read is noted, see `memory.flash.notes`."""

    changes_store = True
    follows_times = False
    own_notes: ClassVar[Sequence[str]] = ()
    """Beside clusters and bank: they know of all frames, and go where any of them is forgotten."""

    def choice(self, block: int) -> "Choice":
        """What k-means leaves to chance when that block comes: the same in every process."""
        from memory.flash.weighted_kmeans import Seeded

        return Seeded(block)

    def encoding(self) -> Encoding:
        return Encoding(_CHUNK, _CHUNK)

    def recent_blocks(self) -> int:
        return 0

    def rewrite(self, old: "KVBlock", block_id: int, state: State) -> "KVBlock":
        from memory.flash.notes import for_its_picture

        return for_its_picture(old)

    def num_kept(self, num_tokens: int) -> int:
        return 1

    def note(self, block: NewBlock, state: State) -> StateChange:
        return self.noted([block], state)

    def noted(self, blocks: Sequence[NewBlock], state: State) -> StateChange:
        """What is noted with several blocks that come in one call."""
        raise NotImplementedError

    def forgotten(self, state: State, from_s: float, to_s: float) -> StateChange:
        from memory.flash.notes import Notes

        return Notes(state).without(from_s, to_s, self.own_notes)

    def expired(self, state: State, before_s: float) -> StateChange:
        from memory.flash.notes import Notes

        return Notes(state).expired(before_s, self.own_notes)

    def coarser_since(self, state: State) -> float | None:
        from memory.flash.notes import merged_until_s

        return merged_until_s(state)
