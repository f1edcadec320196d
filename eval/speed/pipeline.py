"""measure_pipeline: measures how fast videos become KV blocks, and what limits it.

Includes everything that the product does to a frame: reading, decoding, scaling, sampling, vision
tower, decoder, encoding and storing. A file is read as fast as possible, a camera at its own pace:
if a camera loses nothing, the machine merely keeps up with it.

Stages are those of ingest, in milliseconds per encoded frame. Two come before them: `source`,
waiting for a frame that is not decoded yet, since decoding overlaps encoding; and `turn`: sampling,
waiting for the device, and for the previous chunk to be in the memory. `thumbnail`, `encode` and
`store` run beside the others. `limit` is `camera` if nothing it sends is lost, `device` if that is
hardly ever idle, otherwise the stage that takes most of a frame's time. `alike` frames were sampled
but not encoded, because they looked like the frame before.
"""

import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Annotated

import psutil
import typer

from eval.speed.figures import Figures, Row
from eval.speed.subject import (
    RandomWeights,
    ShapeName,
    busy_share,
    here,
    passing_session,
    ready_model,
    roomy_config,
    since,
)
from vstream import Session, VStreamError
from vstream.ingest import IngestWorker

_FIRST_S = 60.0
_LOOK_S = 0.005
_BUSY_SHARE = 0.9
_BESIDE = ("thumbnail", "encode", "store")
"""Stages of a chunk that run while the next one is in the device's rounds."""


def measure_pipeline(
    sources: Annotated[list[str], typer.Argument(help="Files and cameras, all at once.")],
    shape: ShapeName = None,
    random_weights: RandomWeights = False,
    seconds: Annotated[float, typer.Option(min=1, help="At most, from the first block on.")] = 20,
) -> Figures:
    """From an address to blocks in the store: how fast, where the time goes, and what limits."""
    model, config = ready_model(shape, random_weights), roomy_config()
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
            active_s, began = 0.0, time.perf_counter()
            before, stages_before = _counts(workers), _stages_s(workers, sessions)
            with busy_share(model.scheduler) as share:
                while time.perf_counter() < began + seconds and _num_running(workers):
                    looked, running = time.perf_counter(), _num_running(workers)
                    time.sleep(_LOOK_S)
                    active_s += running * (time.perf_counter() - looked)
                device_share = share()
            counts, stages_s = _counts(workers), _stages_s(workers, sessions)
        finally:
            for worker in workers:
                worker.stop()
        for worker in workers:
            worker.join()
    counts, stages_s = since(counts, before), since(stages_s, stages_before)
    in_line_s = sum(s for name, s in stages_s.items() if name not in _BESIDE)
    stages_s["turn"] = max(0.0, active_s - in_line_s)
    return {"here": [here(model)], **_figures(workers, counts, stages_s, device_share)}


def _num_running(workers: Sequence[IngestWorker]) -> int:
    return sum(worker.is_running for worker in workers)


def _await_first(workers: Sequence[IngestWorker]) -> None:
    give_up_at = time.monotonic() + _FIRST_S
    for worker in workers:
        while not worker.progress.frames_encoded and worker.is_running:
            if time.monotonic() > give_up_at:
                raise VStreamError(f"{worker.source_name}: no block in {_FIRST_S:g} s")
            time.sleep(_LOOK_S)


def _counts(workers: Sequence[IngestWorker]) -> dict[str, float]:
    progress, used = [worker.progress for worker in workers], psutil.Process().cpu_times()
    return {
        "passed_s": time.perf_counter(),
        "cpu_s": used.user + used.system,
        "encoded": sum(one.frames_encoded for one in progress),
        "seen": sum(one.frames_seen for one in progress),
        "lost": sum(one.frames_lost for one in progress),
        "alike": sum(one.frames_duplicate for one in progress),
    }


def _stages_s(workers: Sequence[IngestWorker], sessions: Sequence[Session]) -> dict[str, float]:
    stages = {"source": sum(worker.waited_s for worker in workers)}
    for session in sessions:
        for name, spent in dict(session.clock.seconds).items():
            stages[name] = stages.get(name, 0.0) + spent
    return stages


def _figures(
    workers: Sequence[IngestWorker],
    counts: Mapping[str, float],
    stages_s: Mapping[str, float],
    device_share: float,
) -> Figures:
    names = ", ".join(worker.source_name for worker in workers)
    passed_s, encoded = counts["passed_s"], counts["encoded"]
    if not encoded:
        raise VStreamError(f"{names}: ended before anything could be measured; take a longer video")
    is_live = all(worker.is_live for worker in workers)
    if is_live and not counts["lost"]:
        limit = "camera"
    elif device_share >= _BUSY_SHARE:
        limit = "device"
    else:  # waiting for a camera that loses frames is no limit
        own = {name: s for name, s in stages_s.items() if not (is_live and name == "source")}
        limit = max(own, key=lambda name: own[name])
    row: Row = {
        "sources": names,
        "measured_s": passed_s,
        "encoded_frames_per_s": encoded / passed_s,
        "decoded_frames_per_s": counts["seen"] / passed_s,
        "lost_frames": counts["lost"],
        "alike_frames": counts["alike"],
        "device_share": device_share,
        "cpu_cores": counts["cpu_s"] / passed_s,
        "limit": limit,
    }
    stages: Row = {f"{name}_ms": 1000 * s / encoded for name, s in stages_s.items()}
    return {"pipeline": [row], "stages of an encoded frame": [stages]}
