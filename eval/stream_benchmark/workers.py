"""Workers: the streams of a run in, played by several processes at once, each with its own model.

A stream belongs to one worker, which alone writes its records and blocks, so the records are those
of one worker. A worker ends with the process that started it, however that ends.
"""

import os
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context, parent_process
from multiprocessing.queues import SimpleQueue
from pathlib import Path

import torch

from eval.stream_benchmark.stream_blocks import StreamBlocks
from eval.stream_benchmark.stream_play import Advance, StreamPlay, StreamTask
from eval.stream_world import Renderer
from vstream import VideoLLM, VStreamConfig, load_video_llm

Progress = tuple[str, int] | None
"""What an Advance is told; None: there is no more."""


@dataclass(frozen=True)
class WorkerSetup:
    """All that a worker needs to play any stream of the run; plain data."""

    run: Path
    config: VStreamConfig
    frame_px: int
    threads: int

    def load(self, device: str) -> VideoLLM:
        """The run's model, on this device."""
        torch.set_num_threads(self.threads)
        return load_video_llm(self.config.model, device, self.config.dtype, sample_fps=1.0)

    def blocks(self, model: VideoLLM) -> StreamBlocks:
        return StreamBlocks(self.run, model, self.config, Renderer(self.frame_px))


def play_all(
    setup: WorkerSetup, tasks: Sequence[StreamTask], num_workers: int, advance: Advance
) -> None:
    """Play every stream. The first error ends the run; what is on record by then stays."""
    context = get_context("spawn")  # torch's threads do not survive a fork
    told: SimpleQueue[Progress] = context.SimpleQueue()
    places: SimpleQueue[str] = context.SimpleQueue()
    for number in range(num_workers):
        places.put(_device(setup.config.device, number))
    workers = ProcessPoolExecutor(num_workers, context, _begin, (setup, told, places))
    with _passing_on(told, advance):
        try:
            for done in [workers.submit(_play, task) for task in tasks]:
                done.result()
        finally:
            workers.shutdown(cancel_futures=True)


def _device(device: str, number: int) -> str:
    """Workers take the cards in turn, where the device is not one of them or the CPU."""
    num_cards = torch.cuda.device_count()
    if device in ("auto", "cuda") and num_cards:
        return f"cuda:{number % num_cards}"
    return device


@contextmanager
def _passing_on(told: "SimpleQueue[Progress]", advance: Advance) -> Iterator[None]:
    """`advance` hears in this process what the workers tell."""

    def pass_on() -> None:
        while (progress := told.get()) is not None:
            advance(*progress)

    listener = threading.Thread(target=pass_on, daemon=True)
    listener.start()
    try:
        yield
    finally:
        told.put(None)
        listener.join()


@dataclass(frozen=True)
class _Worker:
    """What one worker process holds."""

    run: Path
    blocks: StreamBlocks
    told: "SimpleQueue[Progress]"


_worker: _Worker


def _begin(setup: WorkerSetup, told: "SimpleQueue[Progress]", places: "SimpleQueue[str]") -> None:
    global _worker
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _worker = _Worker(setup.run, setup.blocks(setup.load(places.get())), told)


def _end_with_parent() -> None:
    """A worker whose run was killed must not write on beside the one that resumes it."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _play(task: StreamTask) -> None:
    StreamPlay(task, _worker.run, _worker.blocks).run(lambda *progress: _worker.told.put(progress))
