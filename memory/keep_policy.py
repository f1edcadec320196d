"""KeepPolicy: how new blocks are kept, and which must never become coarser or go."""

from dataclasses import dataclass


@dataclass(frozen=True)
class KeepPolicy:
    """`keep_newest` counts blocks: what the local window and the recent window still need.

    Blocks older than `retain_s` go, span by span; None: as long as the budget allows.
    """

    codec: str
    keep_newest: int = 0
    retain_s: float | None = None
