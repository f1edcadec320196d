"""SharedVision: a family that encodes each frame once, however many sessions it is pushed into."""

import time
from collections.abc import Sequence
from copy import copy

from encoders import Family, Frame, VisualTokens


class SharedVision:
    """Sees for `family` while one stream is played into several sessions at once.

    A block's visual tokens do not depend on what is encoded with it, so they can be handed out
    again. They are kept until `forget`. Passes of one size keep them the same to the last bit,
    whoever asks first.
    """

    def __init__(self, family: Family, pass_blocks: int) -> None:
        """`pass_blocks`: at most so many blocks in one pass of the tower."""
        self._encode = family.encode
        self._pass_blocks = pass_blocks
        self._known: dict[float, VisualTokens] = {}
        self.seconds = 0.0
        """Spent on vision so far: each session by itself would have spent as much."""
        self.family = copy(family)
        """To be given to the sessions."""
        self.family.encode = self.encode  # type: ignore[method-assign]

    def encode(self, groups: Sequence[Sequence[Frame]]) -> list[VisualTokens]:
        """As the family; a block is known by the time of its first frame."""
        started = time.perf_counter()
        new = [group for group in groups if group[0].stream_s not in self._known]
        for i in range(0, len(new), self._pass_blocks):
            together = new[i : i + self._pass_blocks]
            for group, tokens in zip(together, self._encode(together), strict=True):
                self._known[group[0].stream_s] = tokens
        self.seconds += time.perf_counter() - started
        return [self._known[group[0].stream_s] for group in groups]

    def forget(self) -> None:
        """Let go of all visual tokens: every session has had them."""
        self._known.clear()
