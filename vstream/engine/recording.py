"""Recording: a computation of fixed shapes in, a call that does it again without its Python out.

On a card it becomes a chain of CUDA graphs over buffers that never move. What has to be done by the
processor in between (a layer's retrieval) is a *cut*: a graph ends there, and another one begins.
So the computation may be a whole pass of a stock decoder, cut inside its attention.

Source: pieces of a pass as graphs with attention between them, as vLLM's piecewise CUDA graphs
(https://docs.vllm.ai/en/latest/design/cuda_graphs/). Differs: pieces are found by running the pass
once, not by compiling it.
"""

from collections.abc import Callable
from contextlib import suppress

import torch
from torch import Tensor

Cut = Callable[[Callable[[], None]], None]
"""Called by a computation: do this now, and every time again."""
Computation = Callable[[Cut], Tensor]
"""Reads and writes buffers that stay where they are; what it returns does, too."""
Replay = Callable[[], Tensor]
Record = Callable[[Computation, torch.device], Replay]

_WARM_UP = 2
"""Runs before a graph is recorded: libraries allocate in the first."""


def not_recorded(run: Computation, device: torch.device) -> Replay:
    """`run`, anew every time: the plain path, and all there is without a card."""
    return lambda: run(lambda between: between())


def record_graphs(run: Computation, device: torch.device) -> Replay:
    """`run` as CUDA graphs. It runs a few times now, without what its cuts would do.

    Other threads may use the card meanwhile. Raises RuntimeError where the card cannot record it.
    """
    with torch.cuda.device(device):
        before, beside = torch.cuda.current_stream(), torch.cuda.Stream()
        try:
            beside.wait_stream(before)
            with torch.cuda.stream(beside):
                for _ in range(_WARM_UP):
                    run(lambda between: None)
                chain = _GraphChain()
                result = chain.record(run)
        finally:
            torch.cuda.set_stream(before)  # torch leaves it where recording fails
            before.wait_stream(beside)

    def replay() -> Tensor:
        for part in chain.parts:
            part()
        return result

    return replay


class _GraphChain:
    """Graphs that are always replayed in the order they were recorded in, so they share memory."""

    def __init__(self) -> None:
        self.parts: list[Callable[[], None]] = []
        self._pool = torch.cuda.graph_pool_handle()
        self._graph = torch.cuda.CUDAGraph()

    def record(self, run: Computation) -> Tensor:
        self._begin()
        try:
            result = run(self._cut)
        except BaseException:
            with suppress(RuntimeError):
                self._graph.capture_end()
            raise
        self._end()
        return result

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
