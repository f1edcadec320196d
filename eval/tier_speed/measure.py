"""Measure: a model and places to keep blocks in, one TierResult for each place and shape out."""

import statistics
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path

import torch

from encoders import Frame
from eval.speed import QUESTIONS, ROUNDS
from eval.tier_speed.block_shape import LLAVA_ONEVISION_7B, random_records
from eval.tier_speed.tier_store import TierStore, file_store, host_store, redis_store
from eval.tier_speed.transfer import memory_over, read, write
from memory import BlockRecord, MemoryConfig, StreamMake, stored_records
from vstream import Session, VideoLLM, VStreamConfig, open_session
from vstream.engine import EngineConfig
from vstream.policy import policy_for

_BATCH = 64
_STREAM_ID = "tier-speed"
OpenStore = Callable[[StreamMake], AbstractContextManager[TierStore]]


@dataclass(frozen=True)
class TierResult:
    """One place, `cold` or not, and one shape of blocks.

    `retrieve_ms` is for 64 blocks in every layer, fetched and decoded. `first_token_ms` is of the
    embedded model; of blocks of random numbers nothing can be asked.
    """

    tier: str
    is_cold: bool
    shape: str
    row_bytes: int
    blocks: int
    write_gb_s: float
    read_gb_s: float
    retrieve_ms: float
    disk_share: float | None
    first_token_ms: float | None


def measure_tiers(
    config: VStreamConfig,
    model: VideoLLM,
    frames: Iterator[Frame],
    num_frames: int,
    num_mb: int,
    folder: Path | None,
    redis_url: str | None,
) -> list[TierResult]:
    """Blocks of `num_frames` frames of the embedded model, and `num_mb` MB of larger ones."""
    opening: list[OpenStore] = [host_store, partial(file_store, folder=folder)]
    if redis_url is not None:
        opening.append(partial(redis_store, url=redis_url))
    shape = LLAVA_ONEVISION_7B
    num_large = max(2, round(num_mb * 1e6 / next(random_records(shape, 1)).num_bytes))
    large = list(random_records(shape, num_large))
    with tempfile.TemporaryDirectory(prefix="tier-speed-") as encoded:
        records = _encoded(config, model, frames, num_frames, Path(encoded))
    results: list[TierResult] = []
    for open_store in opening:
        results += _results(open_store, "embedded", model.decoder.dtype, records, model)
        results += _results(open_store, shape.name, shape.dtype, large)
    return results


def _encoded(
    config: VStreamConfig, model: VideoLLM, frames: Iterator[Frame], num_frames: int, folder: Path
) -> list[BlockRecord]:
    memory = MemoryConfig(store=folder.resolve().as_uri())
    with open_session(config.model_copy(update={"memory": memory}), model, _STREAM_ID) as session:
        for _ in range(0, num_frames, _BATCH):
            left = num_frames - session.memory.num_blocks
            session.push(list(islice(frames, min(_BATCH, left))))
    return list(stored_records(memory, _STREAM_ID))


def _results(
    open_store: OpenStore,
    shape: str,
    dtype: torch.dtype,
    records: Sequence[BlockRecord],
    model: VideoLLM | None = None,
) -> Iterator[TierResult]:
    """Of one place; `model` made the blocks and can be asked about them."""
    head = records[0].head
    with open_store(head.make) as place, memory_over(place.store, head) as memory:
        write_gb_s = write(memory, records)
        session = (
            None
            if model is None
            else Session(model, memory, policy_for(VStreamConfig(), model), EngineConfig())
        )
        for make_cold in [None] if place.make_cold is None else [None, place.make_cold]:
            found = read(memory, place.store, dtype, make_cold)
            first_ms = None if session is None else _first_token_ms(session, make_cold)
            yield TierResult(
                tier=place.name,
                is_cold=make_cold is not None,
                shape=shape,
                row_bytes=len(records[0].rows[0]),
                blocks=len(records),
                write_gb_s=round(write_gb_s, 3),
                read_gb_s=round(found.read_gb_s, 3),
                retrieve_ms=round(found.retrieve_ms, 2),
                disk_share=found.disk_share and round(found.disk_share, 2),
                first_token_ms=first_ms and round(first_ms, 2),
            )


def _first_token_ms(session: Session, make_cold: Callable[[], None] | None) -> float:
    """Median over all questions; the first round is not counted."""
    times = []
    for number in range(ROUNDS):
        for text in QUESTIONS:
            if make_cold is not None:
                make_cold()
            ttft_ms = session.ask(text).answer.timings_ms.ttft
            if number:
                times.append(ttft_ms)
    return statistics.median(times)
