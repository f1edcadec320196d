"""Parallel: one training run on several CPU processes, which average their gradients.

Each process trains on its own streams with one thread: that keeps cores busier than several threads
in one process, which wait for each other in every layer. The result depends on the number of
processes, not on chance.
"""

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
import torch.distributed as dist
from torch import nn
from torch.multiprocessing.spawn import start_processes


@dataclass(frozen=True)
class Share:
    """The part of one process: number `rank` of `count`."""

    rank: int = 0
    count: int = 1

    @property
    def is_first(self) -> bool:
        return self.rank == 0


def run_parallel(num_processes: int, work: Callable[[Share], None]) -> None:
    """Call `work` (a picklable function) in that many processes; wait for all."""
    if num_processes == 1:
        work(Share())
        return
    # Slow imports are done once; torch's threads do not survive a fork, so the processes are forked
    # from one without any.
    get_context("forkserver").set_forkserver_preload(["eval.training.train"])
    with TemporaryDirectory() as folder:
        told = num_processes, Path(folder) / "meeting", work
        start_processes(_join, told, num_processes, start_method="forkserver")


def _join(rank: int, count: int, meeting: Path, work: Callable[[Share], None]) -> None:
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=meeting.as_uri(), rank=rank, world_size=count)
    try:
        work(Share(rank, count))
    finally:
        dist.destroy_process_group()


def average_gradients(parameters: Iterable[nn.Parameter], share: Share) -> None:
    """Give every process the mean of all processes' gradients; does nothing for a single one."""
    if share.count == 1:
        return
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    dist.all_reduce(flat)
    flat /= share.count
    for gradient, mean in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(mean.view_as(gradient))


def agree(is_over: bool, share: Share) -> bool:
    """Return whether it is over for the first process, so that all stop after the same step."""
    if share.count == 1:
        return is_over
    told = torch.tensor([is_over and share.is_first], dtype=torch.int32)
    dist.broadcast(told, 0)
    return bool(told.item())
