"""Speed of the whole engine on this machine: ingest, first token, decode, bytes, resident memory.

Frames of the stream world go in through a Session as the product uses it; questions are asked when
the history has reached each length. Nothing is asserted: this is a measurement, not a test.
"""

import os
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import count, islice

import numpy as np
import psutil
import torch
from jaxtyping import UInt8
from PIL import Image

from encoders import Frame
from eval.stream_world import Renderer, write_script
from vstream.config import VStreamConfig
from vstream.device.cpu_threads import choose_cpu_threads
from vstream.models.video_llm import VideoLLM, load_video_llm
from vstream.open_readers import with_host_bytes
from vstream.open_session import open_session
from vstream.session import Session

FRAME_PX = 384
CAMERA_PX = (1920, 1080)
"""Width and height of what cameras send; every family has to make it smaller."""
QUESTIONS = (
    "what do you see now?",
    "has a dog appeared yet?",
    "what color was the star when it first appeared?",
    "how many objects are visible now?",
    "when was the cat last seen?",
)
ROUNDS = 6
"""Every question is asked so often; the first round is not counted."""
_POOL = 300
"""Distinct frames; a longer history repeats them with times that go on."""
_CAMERA_POOL = 32
"""Of those of CAMERA_PX, which take 6 MB each."""
_BATCH = 64


@dataclass(frozen=True)
class SpeedResult:
    """What was measured at one length of history."""

    history_s: float
    ingest_fps: float
    ttft_ms: float
    tokens_per_s: float
    bytes_per_hour: int
    store_bytes: int
    rss_bytes: int
    stages: dict[str, float]
    """Milliseconds a frame, by stage of ingest; some lie beside others, of the chunk before."""
    threads: int
    load_average: float


def measure(
    config: VStreamConfig, model: VideoLLM, histories_s: Sequence[float]
) -> list[SpeedResult]:
    """One result for each history, which must rise. Frames are rendered beforehand."""
    frames = made_up_frames(model.sample_fps)
    results = []
    with open_session(config, model, "speed") as session:
        for history_s in histories_s:
            seconds = _ingest(session, frames, history_s, model.sample_fps)
            results.append(_result(session, history_s, *seconds))
    return results


def ready_model(config: VStreamConfig) -> VideoLLM:
    """The configured model, with the configured or the best number of threads."""
    if config.threads is None:
        choose_cpu_threads()
    else:
        torch.set_num_threads(config.threads)
    return load_video_llm(config.model, config.device, config.dtype, config.source.sample_fps)


def with_room(config: VStreamConfig) -> VStreamConfig:
    """For blocks of a large model, which are not to age while they are measured: half of the host
    RAM that is free, or what is configured if that is more.
    """
    free = psutil.virtual_memory().available // 2
    return with_host_bytes(config, max(config.memory.host_bytes, free))


def made_up_frames(fps: float) -> Iterator[Frame]:
    """Frames of a made-up stream, without end, at `fps` of stream time."""
    return _repeated(_pictures(_POOL), fps)


def camera_frames(fps: float) -> Iterator[Frame]:
    """As `made_up_frames`, of CAMERA_PX."""
    pictures = [Image.fromarray(one).resize(CAMERA_PX) for one in _pictures(_CAMERA_POOL)]
    return _repeated([np.asarray(one) for one in pictures], fps)


def _pictures(number: int) -> list[UInt8[np.ndarray, "side side 3"]]:
    renderer = Renderer(FRAME_PX)
    return [renderer.frame(moment) for moment in write_script(7, number).moments]


def _repeated(
    pictures: Sequence[UInt8[np.ndarray, "height width 3"]], fps: float
) -> Iterator[Frame]:
    for number in count():
        yield Frame(pictures[number % len(pictures)], number / fps, time.time())


def _ingest(
    session: Session, frames: Iterator[Frame], until_s: float, fps: float
) -> tuple[int, float]:
    """Push frames until the history is `until_s` long; returns how many and the seconds taken."""
    wanted = (
        round(until_s * fps) - session.memory.num_blocks * session.model.family.frames_per_block
    )
    pushed, seconds = 0, 0.0
    while pushed < wanted:
        batch = list(islice(frames, min(_BATCH, wanted - pushed)))
        started = time.perf_counter()
        session.push(batch)
        seconds += time.perf_counter() - started
        pushed += len(batch)
    return pushed, seconds


def _result(session: Session, history_s: float, pushed: int, seconds: float) -> SpeedResult:
    first_token_ms, token_ms = [], []
    for round_number in range(ROUNDS):
        for text in QUESTIONS:
            answer = session.ask(text).answer
            times, decoded = answer.timings_ms, len(answer.token_ids)
            if round_number and decoded:
                first_token_ms.append(times.ttft)
                token_ms.append((times.total - times.ttft) / decoded)
    stats = session.memory.stats()
    store_bytes = sum(stats.bytes_by_tier.values())
    return SpeedResult(
        history_s=history_s,
        ingest_fps=round(pushed / seconds, 1),
        ttft_ms=round(statistics.median(first_token_ms), 2),
        tokens_per_s=round(1000 / statistics.median(token_ms), 1),
        bytes_per_hour=round(store_bytes / history_s * 3600),
        store_bytes=store_bytes,
        rss_bytes=psutil.Process().memory_info().rss,
        stages={
            name: round(1000 * spent / (stats.blocks * session.model.family.frames_per_block), 3)
            for name, spent in session.clock.seconds.items()
        },
        threads=torch.get_num_threads(),
        load_average=round(os.getloadavg()[0], 2),
    )


def document(results: Sequence[SpeedResult]) -> dict[str, object]:
    """The figures at the longest history, and under `histories` those of every length."""
    return {**asdict(results[-1]), "histories": [asdict(result) for result in results]}
