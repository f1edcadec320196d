"""KeptWatch: what a session's store holds while its stream plays, at every full hour and the end.

Bytes are the store's own count, the same for every policy and codec. `most_bytes` is the most after
any frame, `by_age` the share of frames that have a block.
"""

from collections import Counter
from typing import Any

from eval.run.peak_memory import resident_bytes
from eval.run.scored import AGES_S, age_of
from memory import MemoryStats
from vstream import Session

HOUR_S = 3600


class KeptWatch:
    def __init__(self, session: Session) -> None:
        self._session = session
        self._most: Counter[str] = Counter()
        self._noted_s = 0.0
        self.noted: list[dict[str, Any]] = []

    def look(self, stream_s: float) -> None:
        with self._session.model.turn:
            self._most |= Counter(self._session.memory.bytes_by_tier())
        if (stream_s + 1 / self._session.model.sample_fps) // HOUR_S > self._noted_s // HOUR_S:
            self.note(stream_s)

    def note(self, stream_s: float) -> MemoryStats:
        session, rate = self._session, self._session.model.sample_fps
        with session.model.turn:
            stats = session.memory.stats()
            ends_s = [session.memory.info(block).end_s for block in session.memory.visible(None)]
        self._most |= Counter(stats.bytes_by_tier)
        if stream_s + 1 / rate > self._noted_s:
            self._noted_s = stream_s + 1 / rate
            kept = {
                "at_s": self._noted_s,
                "blocks": stats.blocks,
                "blocks_by_codec": stats.blocks_by_codec,
                "bytes": stats.bytes_by_tier,
                "most_bytes": dict(self._most),
                "index_bytes": stats.index_bytes,
                "resident_bytes": resident_bytes(),
                "by_age": _by_age(stream_s, ends_s, rate / session.model.family.frames_per_block),
            }
            self.noted.append(kept)
        return stats


def stored_bytes(stats: MemoryStats) -> int:
    """Return the bytes in the store itself, without copies in host RAM of what is elsewhere."""
    by_tier = stats.bytes_by_tier
    return sum(num for tier, num in by_tier.items() if tier != "host" or len(by_tier) == 1)


def _by_age(newest_s: float, ends_s: list[float], blocks_per_s: float) -> dict[str, float]:
    num = Counter(age_of(newest_s - end_s) for end_s in ends_s)
    shares, youngest_s = {}, 0.0
    for age, oldest_s in AGES_S.items():
        length_s = min(oldest_s, newest_s + 1 / blocks_per_s) - youngest_s
        if length_s > 0:
            shares[age] = round(min(1.0, num[age] / (length_s * blocks_per_s)), 4)
        youngest_s = oldest_s
    return shares
