"""Ownership: decide which streams this worker takes or gives away.

Rendezvous proposes, the lease disposes: a choice made here may be wrong, when workers see each
other differently, but never unsafe. A stream stays where it is as long as its writer lives.
"""

import hashlib
from collections.abc import Collection, Iterable, Mapping

RANK_S = 2.0
"""How long each rank leaves a stream to those before it, which may be dead or full."""
UNEVEN = 0.2
"""Streams move when the least loaded worker has less than the most loaded by more than this."""


def rendezvous(key: str, workers: Iterable[str]) -> list[str]:
    """Return the workers in the order in which they should have `key`. A worker that joins or
    leaves does not change the order of the others.
    """

    def weight(worker: str) -> tuple[bytes, str]:
        text = f"{worker}\0{key}".encode("utf-8", "surrogatepass")
        return hashlib.blake2b(text, digest_size=8).digest(), worker

    return sorted(set(workers), key=weight)


def free_since(before: Mapping[str, float], free: Iterable[str], now: float) -> dict[str, float]:
    """Return the streams without a living writer `now`, each with when that was first seen."""
    return {stream_id: before.get(stream_id, now) for stream_id in free}


def to_take(
    me: str,
    free: Mapping[str, float],
    workers: Iterable[str],
    room: int,
    now: float,
    given: Collection[str] = (),
) -> list[str]:
    """Return the streams that this worker may take now, at most `room`: those in `free`, see
    `free_since`, for which all better ranks have had their time. It takes back a stream that it has
    `given` away only if nobody else wants it.
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
    """Return the stream that this worker should give away to even out the loads, or None.

    `loads` are those of this worker and of all that could take a stream; `mine` is the part of its
    load that each of its streams makes up. No stream moves if that would only turn the tables.
    """
    others = set(loads) - {me}
    most = max(loads, key=lambda worker: (loads[worker], worker), default=None)
    if not others or me != most or loads[me] - min(loads.values()) <= UNEVEN * loads[me]:
        return None

    def more(stream_id: str) -> float:
        """Return the larger of the two loads after the move."""
        taker = rendezvous(stream_id, others)[0]
        return max(loads[me] - mine[stream_id], loads[taker] + mine[stream_id])

    best = min(mine, key=lambda stream_id: (more(stream_id), stream_id), default=None)
    return best if best is not None and more(best) < loads[me] else None
