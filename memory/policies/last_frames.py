"""last_frames: every question reads the newest frames again; there is no other memory.

Source: SimpleStream, "A Simple Baseline for Streaming Video Understanding"
(https://arxiv.org/abs/2604.02317): a Video-LLM on the newest few frames.
"""

from pydantic import Field

from memory.policies.policy import Card, Encoding, MemoryPolicy, PolicySettings
from memory.policy_hooks import Context, NewBlock, Query, State, StateChange


class LastFramesSettings(PolicySettings):
    frames: int = Field(4, ge=1, description="Newest frames that a question reads, in frames.")


class LastFrames(MemoryPolicy):
    """Keeps blocks for their pictures only: what a question reads has seen no earlier frames."""

    name = "last_frames"
    card = Card(
        paper="SimpleStream (arXiv 2604.02317)",
        keeps="the visual tokens of the newest frames, which every question reads again",
        is_exact=False,
    )
    Settings = LastFramesSettings
    settings: LastFramesSettings
    changes_store = True
    follows_times = False

    def encoding(self) -> Encoding:
        """Return a window that is encoded in one call: no question reads the keys and values."""
        return Encoding(self.keep_blocks(), self.keep_blocks())

    def recent_blocks(self) -> int:
        return 0

    def context(self, query: Query, state: State) -> Context:
        from memory.token_bytes import tokens_of

        kept = {int(name): tokens_of(value) for name, value in state.items()}
        seen = [number for number in sorted(kept) if kept[number].end_s <= query.at_s]
        return Context([kept[number] for number in seen], seen)

    def note(self, block: NewBlock, state: State) -> StateChange:
        from memory.token_bytes import tokens_to_bytes

        gone = [name for name in state if int(name) <= block.block_id - self.keep_blocks()]
        noted: StateChange = {str(block.block_id): tokens_to_bytes(block.tokens)}
        return {**dict.fromkeys(gone), **noted}

    def noted_bytes(self, frames: int, token_bytes: int, float_bytes: int) -> int:
        return min(frames // self.shape.frames_per_block, self.keep_blocks()) * token_bytes

    def keep_blocks(self) -> int:
        return self.shape.blocks(self.settings.frames)
