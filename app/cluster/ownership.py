"""Ownership: looks at all streams in, which of them this worker is to take or to give away out.

Rendezvous proposes, the lease disposes: what stands here may be wrong, as where workers see each
other differently, and never unsafe. A stream stays where it is as long as its writer lives.
"""

import hashlib
from collections.abc import Collection, Iterable, Mapping

RANK_S = 2.0
"""So long each rank leaves a stream to those before it, which may be dead or full."""
UNEVEN = 0.2
"""Streams move when the least loaded worker has less than the most loaded by more than this."""


def rendezvous(key: str, workers: Iterable[str]) -> list[str]:
    """All of them, in the order in which they are to have `key`: who joins or goes changes nothing
    in the order of the others.
    """

    def weight(worker: str) -> tuple[bytes, str]:
        told = f"{worker}\0{key}".encode("utf-8", "surrogatepass")
        return hashlib.blake2b(told, digest_size=8).digest(), worker

    return sorted(set(workers), key=weight)


def free_since(before: Mapping[str, float], free: Iterable[str], now: float) -> dict[str, float]:
    """The streams that have no living writer `now`, each with when it was first seen so."""
    return {stream_id: before.get(stream_id, now) for stream_id in free}


def to_take(
    me: str,
    free: Mapping[str, float],
    workers: Iterable[str],
    room: int,
    now: float,
    given: Collection[str] = (),
) -> list[str]:
    """Streams that this worker may take now, at most `room`: of those in `free`, as `free_since`
    gives them, the ones before which all better ranks have had their time. Of what it has `given`
    away it takes back what nobody else wants.
    """
    others = set(workers) - {me}
    mine = []
    for stream_id, since in free.items():
        ranks = rendezvous(stream_id, {*others, me})
        rank = len(ranks) if stream_id in given else ranks.index(me)
        if now >= since + rank * RANK_S:
            mine.append((rank, stream_id))
    return [stream_id for _, stream_id in sorted(mine)[: max(0, room)]]


def to_give(me: str, loads: Mapping[str, float], mine: Mapping[str, float]) -> str | None:
    """The stream of this worker that is to go elsewhere for all to have about the same to do.

    `loads` are those of all workers that could take one, and of this one; `mine` what each of its
    streams is of its load. At most one at a time, and none that would only turn the tables.
    """
    others = set(loads) - {me}
    most = max(loads, key=lambda worker: (loads[worker], worker), default=None)
    if not others or me != most or loads[me] - min(loads.values()) <= UNEVEN * loads[me]:
        return None

    def more(stream_id: str) -> float:
        """The larger of the two loads after the move."""
        taker = rendezvous(stream_id, others)[0]
        return max(loads[me] - mine[stream_id], loads[taker] + mine[stream_id])

    best = min(mine, key=lambda stream_id: (more(stream_id), stream_id), default=None)
    return best if best is not None and more(best) < loads[me] else None
