"""Fault: something in a store that is not as a writer leaves it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Fault:
    """One finding. `what` begins with the file or block, and says what is wrong with it."""

    what: str
    blocks: int = 0
    """How many blocks it costs. Of a stretch that had been thinned before, at most so many."""

    def __str__(self) -> str:
        blocks = {0: "", 1: " (1 block lost)"}.get(self.blocks, f" ({self.blocks} blocks lost)")
        return self.what + blocks
