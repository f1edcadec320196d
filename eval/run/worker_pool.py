"""Worker pool: tasks in, done by several processes, each with its own model; what they tell out.

A task is one worker's as a whole, so what is told is what one worker would tell. The workers tell
it to the process that started them and end with it, however it ends: one whose run was killed must
not work on beside the one that resumes it.
"""

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context, parent_process
from multiprocessing.queues import SimpleQueue
from typing import Any, TypeVar

import torch

TaskT = TypeVar("TaskT")
ToldT = TypeVar("ToldT")

Tell = Callable[[ToldT], None]
Work = Callable[[TaskT, Tell[ToldT]], None]
"""Does a task, and tells what comes of it."""

_AT_END = None
"""What the listener hears when there is no more; nothing that a worker tells is this."""


def devices_of(names: str, num_workers: int) -> list[str]:
    """One for each worker: the named ones in turn; all cards in turn where none is named."""
    named = names.split(",")
    if named in (["auto"], ["cuda"]) and torch.cuda.is_available():
        named = [f"cuda:{number}" for number in range(torch.cuda.device_count())]
    return [named[number % len(named)] for number in range(num_workers)]


def work_in_processes(
    begin: Callable[[str], Work[TaskT, ToldT]],
    devices: Sequence[str],
    tasks: Sequence[TaskT],
    tell: Tell[ToldT],
) -> None:
    """One worker for each of `devices`, set up by `begin`, which must be picklable. The first error
    ends the run; what `tell` raises on a full disk is raised at the end.
    """
    # torch's threads do not survive a fork: workers are forked off a process that has none.
    context = get_context("forkserver")
    context.set_forkserver_preload([begin.__module__, "transformers.modeling_utils"])
    told: SimpleQueue[ToldT | None] = context.SimpleQueue()
    places: SimpleQueue[str] = context.SimpleQueue()
    for device in devices:
        places.put(device)
    workers = ProcessPoolExecutor(len(devices), context, _begin, (begin, places, told))
    with _passing_on(told, tell):
        try:
            for done in [workers.submit(_work, task) for task in tasks]:
                done.result()
        finally:
            workers.shutdown(cancel_futures=True)


@contextmanager
def _passing_on(told: "SimpleQueue[ToldT | None]", tell: Tell[ToldT]) -> Iterator[None]:
    failures: list[OSError] = []

    def pass_on() -> None:
        while (one := told.get()) is not _AT_END:
            try:
                tell(one)
            except OSError as error:
                failures.append(error)

    listener = threading.Thread(target=pass_on, daemon=True)
    listener.start()
    try:
        yield
    finally:
        told.put(_AT_END)
        listener.join()
    if failures:
        raise failures[0]


_do: Callable[[Any], None]


def _begin(
    begin: Callable[[str], Work[Any, Any]], places: "SimpleQueue[str]", told: "SimpleQueue[Any]"
) -> None:
    global _do
    threading.Thread(target=_end_with_parent, daemon=True).start()
    work = begin(places.get())

    def do(task: Any) -> None:
        work(task, told.put)

    _do = do


def _end_with_parent() -> None:
    if parent := parent_process():
        parent.join()
        os._exit(1)


def _work(task: Any) -> None:
    _do(task)
