"""BlockFacts: what was found out about a block in, the same out until it changes or is gone."""

from collections.abc import Iterable

MOST = 100_000
"""So many facts are kept; those of the block that was first asked about go first."""


class BlockFacts:
    """Numbers by block and by what was asked, in host RAM alone."""

    def __init__(self) -> None:
        self._facts: dict[int, dict[str, float]] = {}
        self._count = 0

    def get(self, block_id: int, asked: str) -> float | None:
        return self._facts.get(block_id, {}).get(asked)

    def put(self, block_id: int, asked: str, value: float) -> None:
        """With the device's turn, in which the block is known to be there."""
        known = self._facts.setdefault(block_id, {})
        self._count += asked not in known
        known[asked] = value
        while self._count > MOST:
            self.drop([next(iter(self._facts))])

    def drop(self, block_ids: Iterable[int]) -> None:
        """These blocks are gone, or no longer what they were."""
        for block_id in block_ids:
            self._count -= len(self._facts.pop(block_id, ()))

    def __len__(self) -> int:
        return self._count
