"""Workers: what is to be played in, played here or by several processes, each with its own model.

A worker takes whole plays, so its answers are those of one worker. It tells them to the process
that started it, which alone writes, and ends with it, however that ends.
"""

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context, parent_process
from multiprocessing.queues import SimpleQueue

import torch

from eval.play.contender import Contender
from eval.play.interview import PlayedAnswer
from eval.play.plan import Play
from eval.play.player import Known, Player, Watched
from eval.play.settings import PlaySettings
from vstream import VideoLLM, load_video_llm


@dataclass(frozen=True)
class Task:
    """A play, and contenders that agree in what they play."""

    play: Play
    contenders: tuple[Contender, ...]
    known: Known


Told = PlayedAnswer | tuple[Task, Watched]
Tell = Callable[[Told], None]


@dataclass(frozen=True)
class WorkerSetup:
    """All that a worker needs; plain data. `sample_fps` None is what the model recommends."""

    settings: PlaySettings
    sample_fps: float | None
    threads: int

    def load(self, device: str) -> VideoLLM:
        """The run's model, on this device."""
        torch.set_num_threads(self.threads)
        config = self.settings.config
        return load_video_llm(config.model, device, config.dtype, self.sample_fps)


def play_here(model: VideoLLM, setup: WorkerSetup, tasks: Sequence[Task], tell: Tell) -> None:
    """One after the other."""
    player = Player(model, setup.settings, tell)
    for task in tasks:
        watched = player.play(task.play, task.contenders, task.known)
        if watched is not None:
            tell((task, watched))


def play_in_workers(
    setup: WorkerSetup, devices: Sequence[str], tasks: Sequence[Task], tell: Tell
) -> None:
    """One worker for each of `devices`. The first error ends the run."""
    context = get_context("spawn")  # torch's threads do not survive a fork
    told: SimpleQueue[Told | None] = context.SimpleQueue()
    places: SimpleQueue[str] = context.SimpleQueue()
    for device in devices:
        places.put(device)
    workers = ProcessPoolExecutor(len(devices), context, _begin, (setup, told, places))
    with _passing_on(told, tell):
        try:
            for done in [workers.submit(_play, task) for task in tasks]:
                done.result()
        finally:
            workers.shutdown(cancel_futures=True)


def devices_of(names: str, num_workers: int) -> list[str]:
    """One for each worker: the named ones in turn; all cards in turn where none is named."""
    named = names.split(",")
    if named in (["auto"], ["cuda"]) and torch.cuda.is_available():
        named = [f"cuda:{number}" for number in range(torch.cuda.device_count())]
    return [named[number % len(named)] for number in range(num_workers)]


@contextmanager
def _passing_on(told: "SimpleQueue[Told | None]", tell: Tell) -> Iterator[None]:
    """`tell` hears in this process what the workers tell; what it raises is raised at the end."""
    failures: list[BaseException] = []

    def pass_on() -> None:
        while (one := told.get()) is not None:
            try:
                tell(one)
            except OSError as error:  # a full disk, for one
                failures.append(error)

    listener = threading.Thread(target=pass_on, daemon=True)
    listener.start()
    try:
        yield
    finally:
        told.put(None)
        listener.join()
    if failures:
        raise failures[0]


@dataclass(frozen=True)
class _Worker:
    """What one worker process holds."""

    model: VideoLLM
    setup: WorkerSetup
    told: "SimpleQueue[Told | None]"


_worker: _Worker


def _begin(
    setup: WorkerSetup, told: "SimpleQueue[Told | None]", places: "SimpleQueue[str]"
) -> None:
    global _worker
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _worker = _Worker(setup.load(places.get()), setup, told)


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _play(task: Task) -> None:
    play_here(_worker.model, _worker.setup, [task], _worker.told.put)
