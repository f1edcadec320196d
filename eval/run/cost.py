"""Cost: what it cost one policy to watch a video and to answer about it; reports read it."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from eval.run.run_directory import read_lines, write_lines

FILE = "costs.jsonl"
_HOUR_S = 3600


@dataclass(frozen=True)
class Cost:
    """The cost of one video under one policy. What does not apply or was not measured is None.

    `num_frames` went to the policy's session; `num_dropped` of them are in no block. `num_aged`
    blocks became coarser or were evicted because the memory was full: then answers did not read
    what the policy's name promises. `ingest_s` is the time to encode and keep them, without reading
    or drawing. `num_bytes` is what the policy keeps of the video at its end and grows with it;
    `fixed_bytes` is what it keeps whatever the length, such as its window of newest frames.
    `peak_bytes` is the most memory in use while the policy answered: on the device, or of the
    process without one (`peak_of`).
    """

    policy: str
    video: str
    video_s: float
    num_frames: int | None = None
    num_dropped: int | None = None
    ingest_s: float | None = None
    num_bytes: int | None = None
    fixed_bytes: int | None = None
    peak_bytes: int | None = None
    peak_of: str | None = None
    num_aged: int | None = None


def bytes_per_hour(costs: Iterable[Cost]) -> float | None:
    """Return bytes that grow per hour of video, over all videos; None if nothing was measured."""
    kept = [(cost.num_bytes, cost.video_s) for cost in costs if cost.num_bytes is not None]
    hours = sum(video_s for _, video_s in kept) / _HOUR_S
    return sum(num_bytes for num_bytes, _ in kept) / hours if hours else None


def ingest_fps(costs: Iterable[Cost]) -> float | None:
    """Return frames encoded and kept per second, over all videos; None if nothing was measured."""
    encoded = [(c.num_frames, c.ingest_s) for c in costs if c.num_frames and c.ingest_s]
    if not encoded:
        return None
    return sum(frames for frames, _ in encoded) / sum(seconds for _, seconds in encoded)


def write_costs(directory: Path, costs: Iterable[Cost]) -> None:
    write_lines(directory / FILE, map(asdict, costs))


def read_costs(directory: Path) -> list[Cost]:
    """Return the run's costs, none if it has written none."""
    path = directory / FILE
    return [Cost(**document) for document in read_lines(path)] if path.exists() else []
