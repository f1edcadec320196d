"""measure_pictures measures what the pictures beside the blocks take, and a clip made of them.

A day is of a picture a second, none of them skipped as alike; a clip is of a minute, for which a
short video is repeated. Times are of the processor.
"""

import statistics
import time
from itertools import cycle, islice
from pathlib import Path
from typing import Annotated

import typer

from encoders import thumbnail
from eval.speed.figures import Figures, Row
from vstream.device.asker import Asker
from vstream.service.clip import KeptPicture
from vstream.service.clip_video import clip_video
from vstream.sources import SourceConfig, VideoFile

_DAY_S, _CLIP_S = 86_400, 60
_ROUNDS = 3


def measure_pictures(
    videos: Annotated[list[Path], typer.Argument(exists=True, help="A frame a second is taken.")],
) -> Figures:
    """What pictures take beside the blocks of a day, and what a clip of a minute costs."""
    return {"pictures": [_of(video) for video in videos]}


def _of(path: Path) -> Row:
    with VideoFile(str(path), SourceConfig()) as video:
        frames = video.frames_at([float(at) for at in range(max(1, int(video.duration_s)))])
    started = time.process_time()
    kept = [thumbnail(frame) for frame in frames]
    picture_ms = 1000 * (time.process_time() - started) / len(kept)
    mean_bytes = statistics.mean(map(len, kept))
    shown = [KeptPicture(at, at, jpeg) for at, jpeg in enumerate(islice(cycle(kept), _CLIP_S))]
    times_ms = []
    for _ in range(_ROUNDS):
        started = time.process_time()
        clip = clip_video(shown, Asker())
        times_ms.append(1000 * (time.process_time() - started))
    return {
        "video": path.name,
        "frames": len(kept),
        "picture_kB": mean_bytes / 1e3,
        "picture_ms": picture_ms,
        "day_GB": mean_bytes * _DAY_S / 1e9,
        "clip_kB": len(clip) / 1e3,
        "clip_ms": statistics.median(times_ms),
    }
