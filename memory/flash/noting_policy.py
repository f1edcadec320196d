"""NotingPolicy: what Flash-VStream's two memories share, apart from their notes."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from memory.policies.policy import Encoding, MemoryPolicy
from memory.policy_hooks import NewBlock, State, StateChange

if TYPE_CHECKING:
    from memory.flash.weighted_kmeans import Choice
    from memory.kv_block import KVBlock

_CHUNK = 8
"""Blocks are never read, so they see few others and cost little to encode, this many at a time."""


class NotingPolicy(MemoryPolicy):
    """Keeps blocks for their pictures only; questions read the notes, see `memory.flash.notes`."""

    changes_store = True
    follows_times = False
    own_notes: ClassVar[Sequence[str]] = ()
    """Notes besides clusters and bank. They mix all frames, so forgetting one deletes them."""

    def choice(self, block: int) -> "Choice":
        """Return the random choices of k-means for that block: the same in every process."""
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
        """Note several blocks that arrive in one call."""
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
