"""Worker pool: several processes, each with its own model, do tasks and report results.

One worker does a whole task, so its results are those that a single worker would report. Workers
report to the process that started them and end with it, however it ends: a worker of a killed run
must not work on beside the run that resumes it.
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
ResultT = TypeVar("ResultT")

Report = Callable[[ResultT], None]
Work = Callable[[TaskT, Report[ResultT]], None]
"""Does a task and reports its results."""

_AT_END = None
"""The listener's signal that there is no more; no worker reports this."""


def devices_of(names: str, num_workers: int) -> list[str]:
    """Return one device per worker: the named ones in turn; all cards in turn if none is named."""
    named = names.split(",")
    if named in (["auto"], ["cuda"]) and torch.cuda.is_available():
        named = [f"cuda:{number}" for number in range(torch.cuda.device_count())]
    return [named[number % len(named)] for number in range(num_workers)]


def work_in_processes(
    begin: Callable[[str], Work[TaskT, ResultT]],
    devices: Sequence[str],
    tasks: Sequence[TaskT],
    report: Report[ResultT],
) -> None:
    """Run one worker per device, set up by `begin`, which must be picklable. The first error ends
    the run; what `report` raises on a full disk is raised at the end.
    """
    # torch's threads do not survive a fork, so workers are forked from a process without any.
    context = get_context("forkserver")
    context.set_forkserver_preload([begin.__module__, "transformers.modeling_utils"])
    results: SimpleQueue[ResultT | None] = context.SimpleQueue()
    places: SimpleQueue[str] = context.SimpleQueue()
    for device in devices:
        places.put(device)
    workers = ProcessPoolExecutor(len(devices), context, _begin, (begin, places, results))
    with _passing_on(results, report):
        try:
            for done in [workers.submit(_work, task) for task in tasks]:
                done.result()
        finally:
            workers.shutdown(cancel_futures=True)


@contextmanager
def _passing_on(results: "SimpleQueue[ResultT | None]", report: Report[ResultT]) -> Iterator[None]:
    failures: list[OSError] = []

    def pass_on() -> None:
        while (one := results.get()) is not _AT_END:
            try:
                report(one)
            except OSError as error:
                failures.append(error)

    listener = threading.Thread(target=pass_on, daemon=True)
    listener.start()
    try:
        yield
    finally:
        results.put(_AT_END)
        listener.join()
    if failures:
        raise failures[0]


_do: Callable[[Any], None]


def _begin(
    begin: Callable[[str], Work[Any, Any]], places: "SimpleQueue[str]", results: "SimpleQueue[Any]"
) -> None:
    global _do
    threading.Thread(target=_end_with_parent, daemon=True).start()
    work = begin(places.get())

    def do(task: Any) -> None:
        work(task, results.put)

    _do = do


def _end_with_parent() -> None:
    if parent := parent_process():
        parent.join()
        os._exit(1)


def _work(task: Any) -> None:
    _do(task)
