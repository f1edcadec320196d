"""Recording: turns a computation of fixed shapes into a call that repeats it without its Python.

On a GPU it becomes a chain of CUDA graphs over buffers that never move. What the CPU has to do in
between (a layer's retrieval) is a *cut*: one graph ends there, and another one starts. So the
computation may be a whole pass of a stock decoder, cut inside its attention.

Source: pieces of a pass as graphs with attention between them, as in vLLM's piecewise CUDA graphs
(https://docs.vllm.ai/en/latest/design/cuda_graphs/). Differs: pieces are found by running the pass
once, not by compiling it.
"""

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache

import torch
from torch import Tensor

from memory.locks import Rank, ranked_lock

Cut = Callable[[Callable[[], None]], None]
"""A computation calls it with what the CPU has to do at this point of every replay."""
Computation = Callable[[Cut], Tensor]
"""Reads and writes buffers that stay where they are, and so does its result."""
Replay = Callable[[], Tensor]
Record = Callable[[Computation, torch.device], Replay]

_WARM_UP = 2
"""Runs before a graph is recorded: libraries allocate in the first."""
_one_at_a_time = ranked_lock(Rank.RECORDING)


def run_anew(compute: Computation, device: torch.device) -> Replay:
    """Run `compute` every time: the plain path, and the only one without a GPU."""
    return lambda: compute(lambda between: between())


def record_graphs(compute: Computation, device: torch.device) -> Replay:
    """Record `compute` as CUDA graphs. It runs a few times now, without the work of its cuts. Other
    threads may use the GPU meanwhile, on streams of their own, but must not wait for all of it.
    Raises RuntimeError if the GPU cannot record it; OutOfMemoryError is one.
    """
    with _one_at_a_time, torch.cuda.device(device):
        before, beside = torch.cuda.current_stream(), _stream(torch.cuda.current_device())
        beside.wait_stream(before)
        try:
            with torch.cuda.stream(beside):
                for _ in range(_WARM_UP):
                    compute(lambda between: None)
                with _nothing_else_ends():
                    chain = GraphChain()
                    result = chain.record(compute)
        finally:
            before.wait_stream(beside)

    def replay() -> Tensor:
        for part in chain.parts:
            part()
        return result

    return replay


class GraphChain:
    """Graphs that are always replayed in the order of their recording, so they share memory."""

    def __init__(self) -> None:
        self.parts: list[Callable[[], None]] = []
        self._recorded: Computation | None = None
        """Graphs hold addresses: what the computation reads and writes must stay where it is."""
        self._pool = torch.cuda.graph_pool_handle()
        self._graph = torch.cuda.CUDAGraph()

    def record(self, compute: Computation) -> Tensor:
        """Record in the current stream. If that fails, nothing is being recorded any more."""
        self._recorded = compute
        self._begin()
        try:
            result = compute(self._cut)
        except BaseException:
            self._give_up()
            raise
        self._end()
        return result

    def _give_up(self) -> None:
        try:
            self._graph.capture_end()
        except RuntimeError:  # the GPU had given up before, and torch then skips its allocator
            with suppress(RuntimeError):
                torch._C._cuda_endAllocateToPool(torch.cuda.current_device(), self._pool)

    def _cut(self, between: Callable[[], None]) -> None:
        self._end()
        self.parts.append(between)
        self._begin()

    def _begin(self) -> None:
        self._graph = torch.cuda.CUDAGraph()
        self._graph.capture_begin(pool=self._pool, capture_error_mode="thread_local")

    def _end(self) -> None:
        self._graph.capture_end()
        self.parts.append(self._graph.replay)


@cache
def _stream(device_number: int) -> torch.cuda.Stream:
    """Return the one stream for all recordings on a GPU: torch has few and hands them out again.
    Nobody else here takes one of this priority: what others did on it would be recorded.
    """
    return torch.cuda.Stream(device_number, priority=-1)


@contextmanager
def _nothing_else_ends() -> Iterator[None]:
    """Keep graphs and memory from being freed while another graph is recorded. The recording has
    its own workspace for matrix products: a shared one would be freed with the first recording to
    go (torch's own `cudagraph_trees` does the same).
    """
    torch.cuda.synchronize()
    gc.collect()
    torch.cuda.empty_cache()
    collects = gc.isenabled()
    gc.disable()
    torch._C._cuda_clearCublasWorkspaces()
    try:
        yield
    finally:
        torch._C._cuda_clearCublasWorkspaces()
        if collects:
            gc.enable()
