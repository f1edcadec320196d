"""window: keeps the newest blocks and nothing else."""

from pydantic import Field

from memory.policies.default import Default, DefaultSettings
from memory.policies.policy import Card, Encoding, MemoryPolicy, PolicySettings


class WindowSettings(PolicySettings):
    """Unset: as many frames as `default` reads in all."""

    frames: int | None = Field(
        None, ge=1, description="Newest frames that are kept and that a question reads."
    )


class Window(MemoryPolicy):
    """Encodes blocks as `default` does; evicts blocks that no question can read any more."""

    name = "window"
    card = Card(
        paper="a baseline; the sliding window of any long stream",
        keeps="the newest blocks; a question reads all of them and nothing from before",
        is_exact=False,
    )
    Settings = WindowSettings
    settings: WindowSettings
    changes_store = True

    def encoding(self) -> Encoding:
        return self._as_default().encoding()

    def recent_blocks(self) -> int:
        if self.settings.frames is not None:
            return self.shape.blocks(self.settings.frames)
        return self._as_default().context_blocks()

    def keep_blocks(self) -> int:
        return max(self.recent_blocks(), self.encoding().window_blocks)

    def needed_blocks(self) -> int:
        return self.keep_blocks()

    def _as_default(self) -> Default:
        return Default(self.shape, DefaultSettings())
