"""EvidenceMemory: a memory and blocks with evidence in, a memory whose searches find them out."""

from collections.abc import Collection, Sequence
from typing import Any, cast

from jaxtyping import Float
from torch import Tensor

from memory import MemoryReader


class EvidenceMemory:
    """A MemoryReader, but that a search finds what is `wanted` and then the best of the rest.

    So the evidence stands among the blocks that each layer retrieves, as it does in training.
    """

    def __init__(self, memory: MemoryReader) -> None:
        self._memory = memory
        self.wanted: Collection[int] = ()
        """No more blocks than a search finds."""

    @property
    def reader(self) -> MemoryReader:
        return cast(MemoryReader, self)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._memory, name)

    def search(
        self,
        layers: Sequence[int],
        queries: Float[Tensor, "layers kv_heads*head_dim"],
        *,
        below: int,
        top_k: int,
        first: int = 0,
        **how: Any,
    ) -> list[int]:
        """As `MemoryReader.search`; `top_k` blocks as well, fewer where those come in runs."""
        seen = {block for block in self.wanted if first <= block < below}
        num_searched = 0
        while len(seen) < top_k:
            num_searched += top_k - len(seen)
            found = self._memory.search(
                layers, queries, below=below, top_k=num_searched, first=first, **how
            )
            seen.update(found)
            if len(found) < num_searched:
                break
        return sorted(seen)
