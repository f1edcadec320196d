"""DayMemory: a budget in, the memories that keep the day and how each of them is asked out."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from memory import MemoryConfig
from vstream import SettingsError

HOST_SHARE = 0.1
"""Of the total budget: copies of rows in host RAM. The rest is for the files."""
_LEAST_BYTES = 1 << 20


@dataclass(frozen=True)
class DayMemory:
    """One place that keeps the blocks. `policies`: by the name in the report, how it is asked."""

    name: str
    folder: Path
    config: MemoryConfig
    policies: Mapping[str, str]

    @property
    def budget_bytes(self) -> int | None:
        """Of files and host RAM together; None: no bound."""
        if self.config.file_bytes is None:
            return None
        return self.config.file_bytes + self.config.host_bytes


def day_memories(folder: Path, budget_bytes: int) -> list[DayMemory]:
    """Under the budget, and without one; the copies in host RAM have the same bound in both.

    Raises SettingsError for a budget too small to be kept.
    """
    if budget_bytes < 2 * _LEAST_BYTES:
        raise SettingsError(
            f"budget_share: {budget_bytes} bytes for files and host RAM are less than the least, "
            f"{2 * _LEAST_BYTES}; raise the share or play a longer stream"
        )
    host_bytes = max(_LEAST_BYTES, int(HOST_SHARE * budget_bytes))

    def files(name: str, file_bytes: int | None, policies: Mapping[str, str]) -> DayMemory:
        place = folder / name
        store = place.resolve().as_uri()
        config = {"store": store, "host_bytes": host_bytes, "file_bytes": file_bytes}
        return DayMemory(name, place, MemoryConfig.model_validate(config), policies)

    return [
        files("budgeted", budget_bytes - host_bytes, {"budgeted": "default"}),
        files(
            "unlimited",
            None,
            {"unlimited": "default", "window-only": "window", "caption-only": "captions"},
        ),
    ]
