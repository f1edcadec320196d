"""measure_pipeline: addresses of videos in; how fast they become KV blocks, and what limits, out.

Everything that the product does to a frame is in it: reading, decoding, scaling, sampling, the
vision tower, the decoder, encoding and storing. A file goes in as fast as it can, a camera at its
own pace, so a camera that loses nothing says only that the machine keeps up with it.
"""

import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import psutil

from eval.live_speed.busy_device import BusyDevice
from eval.live_speed.passing_session import passing_session
from vstream import Session, VideoLLM, VStreamConfig
from vstream.ingest import IngestWorker

_FIRST_S = 60.0
"""How long the first block of each source is waited for."""
_LOOK_S = 0.005
_BUSY_SHARE = 0.9
_BESIDE = ("thumbnail", "encode", "store")
"""Stages of a chunk that run while the next one is in the device's rounds."""


@dataclass(frozen=True)
class PipelineSpeed:
    """Of all sources together. `stages_ms` are milliseconds of an encoded frame."""

    sources: tuple[str, ...]
    seconds: float
    frames_per_s: float
    """Encoded."""
    seen_per_s: float
    """Decoded from the source, whether sampled or not."""
    frames_lost: int
    frames_alike: int
    """Sampled, but not encoded, because they were like the frame before."""
    stages_ms: Mapping[str, float]
    """By stage of ingest. Before them `source`: waiting for a frame that is not decoded yet, as the
    next ones are while others are encoded; `turn`: sampling, waiting for the device, and for the
    chunk before to be in the memory. `thumbnail`, `encode` and `store` lie beside the others."""
    device_share: float
    """Of the time, in which rounds of the scheduler ran."""
    cpu_cores: float
    """That this process kept busy."""
    limit: str
    """`camera` where nothing is lost of what it sends, `device` where that is hardly ever idle,
    else the stage that takes most of a frame's time."""


@dataclass(frozen=True)
class _Counts:
    """Of all workers so far; `active_s` is the sum of the times that they ran."""

    at_s: float
    cpu_s: float
    active_s: float
    encoded: int
    seen: int
    lost: int
    alike: int
    stages_s: Mapping[str, float]


def measure_pipeline(
    model: VideoLLM, config: VStreamConfig, sources: Sequence[str], seconds: float
) -> PipelineSpeed:
    """Until `seconds` have passed since each source had its first block, or all files have ended.

    Blocks go where `config` says, and are erased. Raises SourceError for a source that cannot be
    read, ValueError for one that gave no block.
    """
    with ExitStack() as opened:
        sessions = [opened.enter_context(passing_session(config, model)) for _ in sources]
        workers = [
            IngestWorker(session, source, config.source)
            for session, source in zip(sessions, sources, strict=True)
        ]
        for worker in workers:
            worker.start()
        try:
            _await_first(workers)
            began, active_s = time.perf_counter(), 0.0
            before = _counts(workers, sessions, active_s)
            with BusyDevice(model.scheduler) as busy:
                while time.perf_counter() < began + seconds and _num_running(workers):
                    looked, running = time.perf_counter(), _num_running(workers)
                    time.sleep(_LOOK_S)
                    active_s += running * (time.perf_counter() - looked)
                after = _counts(workers, sessions, active_s)
        finally:
            for worker in workers:
                worker.stop()
        for worker in workers:
            worker.join()
        return _speed(workers, before, after, busy.share)


def _num_running(workers: Sequence[IngestWorker]) -> int:
    return sum(worker.is_running for worker in workers)


def _await_first(workers: Sequence[IngestWorker]) -> None:
    give_up_at = time.monotonic() + _FIRST_S
    for worker in workers:
        while not worker.progress.frames_encoded and worker.is_running:
            if time.monotonic() > give_up_at:
                raise ValueError(f"{worker.source_name}: no block in {_FIRST_S:g} s")
            time.sleep(_LOOK_S)


def _counts(
    workers: Sequence[IngestWorker], sessions: Sequence[Session], active_s: float
) -> _Counts:
    progress = [worker.progress for worker in workers]
    stages = {"source": sum(worker.waited_s for worker in workers)}
    for session in sessions:
        for name, spent in dict(session.clock.seconds).items():
            stages[name] = stages.get(name, 0.0) + spent
    used = psutil.Process().cpu_times()
    return _Counts(
        at_s=time.perf_counter(),
        cpu_s=used.user + used.system,
        active_s=active_s,
        encoded=sum(one.frames_encoded for one in progress),
        seen=sum(one.frames_seen for one in progress),
        lost=sum(one.frames_lost for one in progress),
        alike=sum(one.frames_duplicate for one in progress),
        stages_s=stages,
    )


def _speed(
    workers: Sequence[IngestWorker], before: _Counts, after: _Counts, device_share: float
) -> PipelineSpeed:
    passed_s, encoded = after.at_s - before.at_s, after.encoded - before.encoded
    names = tuple(worker.source_name for worker in workers)
    if encoded <= 0:
        raise ValueError(
            f"{', '.join(names)}: ended before anything could be measured; give a longer video"
        )
    stages_s = {name: s - before.stages_s.get(name, 0.0) for name, s in after.stages_s.items()}
    in_line_s = sum(s for name, s in stages_s.items() if name not in _BESIDE)
    stages_s["turn"] = max(0.0, after.active_s - before.active_s - in_line_s)
    lost, is_live = after.lost - before.lost, all(worker.is_live for worker in workers)
    if is_live and not lost:
        limit = "camera"
    elif device_share >= _BUSY_SHARE:
        limit = "device"
    else:  # of a camera that loses frames it is nothing that waits for it
        own = {name: s for name, s in stages_s.items() if not (is_live and name == "source")}
        limit = max(own, key=lambda name: own[name])
    return PipelineSpeed(
        sources=names,
        seconds=round(passed_s, 2),
        frames_per_s=round(encoded / passed_s, 2),
        seen_per_s=round((after.seen - before.seen) / passed_s, 2),
        frames_lost=lost,
        frames_alike=after.alike - before.alike,
        stages_ms={name: round(1000 * s / encoded, 3) for name, s in stages_s.items()},
        device_share=round(device_share, 3),
        cpu_cores=round((after.cpu_s - before.cpu_s) / passed_s, 2),
        limit=limit,
    )
