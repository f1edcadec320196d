"""Transfer: blocks and a store in, how fast they were written to it and read from it out.

Reads are those of a question: in every layer other blocks, drawn at random, and nothing above the
store holds copies; the rows of a layer are joined in one buffer, as decoding needs them. GB are
1e9 bytes.
"""

import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from random import Random

import psutil
import torch

from memory import BlockHead, BlockRecord, BlockStore, KeepPolicy, KVMemory

RETRIEVED_BLOCKS = 64
ROUNDS = 5
_CPU = torch.device("cpu")


@dataclass(frozen=True)
class Reads:
    """Medians over rounds. `retrieve_ms` is for all layers, fetched and decoded.

    `disk_share` is the part of the bytes that the kernel fetched from a disk; with what it reads
    ahead this can be more than 1. None where it does not tell.
    """

    read_gb_s: float
    retrieve_ms: float
    disk_share: float | None


def memory_over(store: BlockStore, like: BlockHead) -> KVMemory:
    """For blocks `like` that one, without copies of rows: every read goes to `store`, yet empty."""
    return KVMemory(like.make, _CPU, store, KeepPolicy(like.form.codec))


def write(memory: KVMemory, records: Iterable[BlockRecord]) -> float:
    """Put encoded blocks and flush; GB/s of their rows, pictures and representative keys."""
    seconds, num_bytes = 0.0, 0
    for record in records:
        started = time.perf_counter()
        memory.take(record)
        seconds += time.perf_counter() - started
        num_bytes += record.num_bytes
    started = time.perf_counter()
    memory.flush()
    seconds += time.perf_counter() - started
    return num_bytes / seconds / 1e9


def read(
    memory: KVMemory,
    store: BlockStore,
    dtype: torch.dtype,
    make_cold: Callable[[], None] | None = None,
) -> Reads:
    """Fetch, then fetch and decode, what a question retrieves; cold every time if asked to."""
    rng, layers = Random(0), range(memory.make.layers)
    gb_s, retrieve_ms, shares = [], [], []

    def chosen() -> list[list[int]]:
        ids = memory.visible(None)
        return [sorted(rng.sample(ids, min(len(ids), RETRIEVED_BLOCKS))) for _ in layers]

    for _ in range(ROUNDS):
        ids = chosen()
        if make_cold is not None:
            make_cold()
        fetched, started = _fetched_bytes(), time.perf_counter()
        num_bytes = sum(
            len(bytearray().join(store.read_rows(layer, of_layer)))
            for layer, of_layer in enumerate(ids)
        )
        seconds = time.perf_counter() - started
        gb_s.append(num_bytes / seconds / 1e9)
        if fetched is not None:
            shares.append(((_fetched_bytes() or 0) - fetched) / num_bytes)
        ids = chosen()
        if make_cold is not None:
            make_cold()
        retrieve_ms.append(_retrieve_ms(memory, ids, dtype))
    return Reads(
        statistics.median(gb_s),
        statistics.median(retrieve_ms),
        statistics.median(shares) if shares else None,
    )


def _retrieve_ms(memory: KVMemory, ids: Sequence[Sequence[int]], dtype: torch.dtype) -> float:
    started = time.perf_counter()
    for layer, of_layer in enumerate(ids):
        memory.read(layer, of_layer, dtype, _CPU)
    return (time.perf_counter() - started) * 1000


def _fetched_bytes() -> int | None:
    """Bytes that the kernel has fetched from disks for this process."""
    process = psutil.Process()
    return int(process.io_counters().read_bytes) if hasattr(process, "io_counters") else None
