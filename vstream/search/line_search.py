"""LineSearch: words in, the moments of one stream whose lines are most like them out.

For models that read a picture as a line of text (see `encoders.families.real`): lines stand in the
thumbnails, and sentence vectors compare them.
"""

from collections.abc import Sequence
from itertools import groupby

import numpy as np
from jaxtyping import Float

from encoders.images import line_of
from memory import MemoryReader
from vstream.search.moment import Moment
from vstream.sentences import sentence_vectors


class LineSearch:
    """Of one memory, which the caller closes."""

    def __init__(self, stream: str, memory: MemoryReader) -> None:
        self._stream, self._memory = stream, memory
        self._lines: dict[int, str] = {}
        """By block, without the time that they open with."""
        self._vectors: dict[str, Float[np.ndarray, " features"]] = {}

    def update(self) -> None:
        """Know the lines of the blocks that are there. With the device's turn."""
        self._memory.refresh()
        kept = self._memory.visible(None)
        new = [one for one in kept if one not in self._lines]
        lines = map(line_of, self._memory.thumbnails(new))
        known = {
            **self._lines,
            **dict(zip(new, (one.partition(" ")[2] for one in lines), strict=True)),
        }
        self._lines = {one: known[one] for one in kept}

    def prepare(self, words: str) -> None:
        """Make the vectors that `search` compares. Raises EncoderError."""
        for sentence in {words, *self._lines.values()} - self._vectors.keys():
            [self._vectors[sentence]] = sentence_vectors([sentence])

    def search(
        self, words: str, top: int, from_s: float | None, to_s: float | None
    ) -> list[Moment]:
        """At most `top`, best first: neighbours that say the same are one.

        With the device's turn, and after `prepare`.
        """
        within = self._memory.visible(to_s, from_s)
        runs = [
            (line, list(blocks))
            for line, blocks in groupby(within, lambda one: self._lines.get(one, ""))
            if line
        ]
        scores = [float(self._vectors[line] @ self._vectors[words]) for line, _ in runs]
        best = sorted(range(len(runs)), key=lambda place: -scores[place])[:top]
        return [self._moment(*runs[place], scores[place]) for place in best]

    def _moment(self, line: str, blocks: Sequence[int], score: float) -> Moment:
        first, last = self._memory.info(blocks[0]), self._memory.info(blocks[-1])
        shown = self._memory.thumbnail(blocks[-1])
        span = self._stream, first.start_s, last.end_s
        return Moment(*span, score, blocks[-1], last.captured_at, shown, line)
