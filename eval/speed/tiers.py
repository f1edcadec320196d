"""measure_tiers: measures the places where blocks are kept.

Reads are those of a question: other blocks in every layer, drawn at random, with no cache above the
store; the rows of a layer are joined in one buffer, as decoding needs them. `retrieve_ms` is for
all layers, fetched and decoded. `disk_share` is the part of the bytes that the kernel fetched from
a disk; with read-ahead it can exceed 1. GB are 1e9 bytes.
"""

import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from random import Random
from typing import Annotated, NamedTuple

import psutil
import torch
import typer

from eval.speed.figures import Figures, Row
from eval.speed.questions import measured_questions, timed, unending
from eval.speed.subject import endless_frames, ingest, ready_model, session_in, spent_s
from memory import (
    BlockHead,
    BlockInfo,
    BlockRecord,
    BlockStore,
    HostTier,
    KeepPolicy,
    KVMemory,
    MemoryConfig,
    Provenance,
    RowForm,
    RowLayout,
    codec_named,
    tier_of,
)
from memory.block_head import IndexVectors
from memory.tiers.file.in_files import InFiles
from vstream import AnswerStream, Question, Session, VideoLLM, load_config
from vstream.engine import EngineConfig
from vstream.policy import policy_for

LARGE = Provenance("LLaVA-OneVision-7B", layers=28, kv_heads=4, head_dim=128)
_LARGE_TOKENS, _LARGE_DTYPE = 196, torch.bfloat16
_POLICY = KeepPolicy("int8")
_DISTINCT, _THUMBNAIL_BYTES = 4, 4096
_RETRIEVED, _ROUNDS = 64, 5
_SEGMENT_BYTES, _BUFFER_BYTES, _HOST_BYTES = 16 << 20, 256 << 20, 1 << 40
_CPU = torch.device("cpu")


class MeasuredTier(NamedTuple):
    """An empty memory over a store, without row copies: every read goes to the store. `make_cold`
    empties the page cache of its files; None: it has none.
    """

    name: str
    memory: KVMemory
    store: BlockStore
    make_cold: Callable[[], None] | None = None


def measure_tiers(
    minutes: Annotated[float, typer.Option(help="Of history of the configured model.")] = 10,
    mb: Annotated[int, typer.Option(min=1, help="Of LLaVA-OneVision-7B's blocks.")] = 750,
    folder: Annotated[
        Path | None, typer.Option(help="On whose disk files are measured; else TMPDIR's.")
    ] = None,
    redis: Annotated[
        str | None, typer.Option(help="Measure this server as well: redis://HOST or unix://PATH.")
    ] = None,
) -> Figures:
    """How fast each tier that keeps blocks writes them, reads them and begins answers."""
    model = unending(ready_model())
    own_store = HostTier(_HOST_BYTES)
    with session_in(own_store, load_config(), model) as session:
        ingest(session, endless_frames(model.sample_fps), round(60 * minutes * model.sample_fps))
    own = [own_store.read_record(number) for number in range(own_store.next_id)]
    large = list(large_records(max(2, round(mb * 1e6 / next(large_records(1)).num_bytes))))
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="tier-speed-", dir=folder) as files:
        for url in ("memory://", Path(files).as_uri(), *filter(None, [redis])):
            rows += _rows(url, own, model.decoder.dtype, model)
            rows += _rows(url, large, _LARGE_DTYPE)
    return {"tiers": rows}


def large_records(num_blocks: int) -> Iterator[BlockRecord]:
    """Yield blocks one second apart, of normal numbers, so that decoding is realistic."""
    layout = RowLayout(LARGE.kv_heads, _LARGE_TOKENS, LARGE.head_dim, "bfloat16")
    form = RowForm(_POLICY.codec, layout)
    generator = torch.Generator().manual_seed(0)
    size = (2, LARGE.layers, LARGE.kv_heads, _LARGE_TOKENS, LARGE.head_dim)
    positions = torch.arange(_LARGE_TOKENS)[None], torch.tensor([_LARGE_TOKENS])
    distinct = []
    for number in range(min(_DISTINCT, num_blocks)):
        keys, values = torch.randn(size, generator=generator).to(_LARGE_DTYPE)
        rows = codec_named(form.codec).encode(keys, values).numpy()
        means = IndexVectors(keys.float().mean(dim=2).flatten(1)[:, None].numpy())
        head = BlockHead(0, LARGE, form, BlockInfo(0.0, 0.0, 0.0, *positions), means)
        picture = Random(number).randbytes(_THUMBNAIL_BYTES)
        distinct.append(BlockRecord(head, picture, tuple(row.tobytes() for row in rows)))
    for number, record in enumerate(islice(cycle(distinct), num_blocks)):
        info = replace(record.head.info, start_s=float(number), end_s=float(number))
        copies = tuple(bytes(memoryview(row)) for row in record.rows)  # larger than a CPU's cache
        yield BlockRecord(replace(record.head, info=info), record.thumbnail, copies)


@contextmanager
def opened(url: str, make: Provenance) -> Iterator[MeasuredTier]:
    """Open it as its own stream, which is erased afterwards."""
    tier = tier_of(url)
    bounds = {"buffer_bytes": _BUFFER_BYTES, "segment_bytes": _SEGMENT_BYTES}
    stream = tier.enter(f"tier-speed-{os.getpid()}", make)
    store = tier.blocks(stream, MemoryConfig(store=url, host_bytes=_HOST_BYTES, **bounds))
    memory = KVMemory(make, _CPU, store, _POLICY, entry=stream)
    make_cold = partial(_drop_pages, tier.folder) if isinstance(tier, InFiles) else None
    try:
        yield MeasuredTier(tier.name if tier.lasts else "host", memory, store, make_cold)
    finally:
        memory.erase()


def _drop_pages(folder: Path) -> None:
    """Flush first: dirty pages would stay in the cache."""
    for path in filter(Path.is_file, folder.rglob("*")):
        file = os.open(path, os.O_RDWR)
        try:
            os.fsync(file)
            os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(file)


def _rows(
    url: str,
    records: Sequence[BlockRecord],
    dtype: torch.dtype,
    model: VideoLLM | None = None,
) -> Iterator[Row]:
    """Measure one place, also cold if it has files; `model` made the blocks and may be asked."""
    make = records[0].head.provenance
    with opened(url, make) as tier:
        write_gb_s = write(tier.memory, records)
        session = None
        if model is not None:
            policy = policy_for(load_config(), model)
            session = Session(model, tier.memory, policy, EngineConfig())
        for make_cold in [None] if tier.make_cold is None else [None, tier.make_cold]:
            yield {
                "tier": tier.name if make_cold is None else f"{tier.name}, cold",
                "blocks_of": make.fingerprint if model is None else model.name,
                "blocks": len(records),
                "row_bytes": len(records[0].rows[0]),
                "write_gb_s": write_gb_s,
                **read(tier, dtype, make_cold),
                "first_token_ms": None if session is None else _first_token_ms(session, make_cold),
            }


def _first_token_ms(session: Session, make_cold: Callable[[], None] | None) -> float:
    def ask(question: Question) -> AnswerStream:
        if make_cold is not None:
            make_cold()
        return session.ask(question)

    return timed(ask, measured_questions(session.model.family)).first_token_ms


def write(memory: KVMemory, records: Iterable[BlockRecord]) -> float:
    """Put encoded blocks and flush; return GB/s of rows, pictures and representative keys."""
    seconds, num_bytes = 0.0, 0
    for record in records:
        seconds += spent_s(partial(memory.take, record))
        num_bytes += record.num_bytes
    return num_bytes / (seconds + spent_s(memory.flush)) / 1e9


def read(
    tier: MeasuredTier, dtype: torch.dtype, make_cold: Callable[[], None] | None = None
) -> Row:
    """Fetch, then fetch and decode, what a question retrieves; each time cold if asked to."""
    rng, layers, ids = Random(0), range(tier.memory.provenance.layers), tier.memory.visible(None)
    gb_s, retrieve_ms, shares = [], [], []

    def chosen() -> list[tuple[int, list[int]]]:
        found = [(one, sorted(rng.sample(ids, min(len(ids), _RETRIEVED)))) for one in layers]
        if make_cold is not None:
            make_cold()
        return found

    for _ in range(_ROUNDS):
        wanted, fetched = chosen(), _fetched_bytes()
        num_bytes, started = 0, time.perf_counter()
        for layer, of_layer in wanted:
            num_bytes += len(bytearray().join(tier.store.read_rows(layer, of_layer)))
        gb_s.append(num_bytes / (time.perf_counter() - started) / 1e9)
        if fetched is not None:
            shares.append(((_fetched_bytes() or 0) - fetched) / num_bytes)
        wanted, started = chosen(), time.perf_counter()
        for layer, of_layer in wanted:
            tier.memory.read(layer, of_layer, dtype, _CPU)
        retrieve_ms.append(1000 * (time.perf_counter() - started))
    return {
        "read_gb_s": statistics.median(gb_s),
        "retrieve_ms": statistics.median(retrieve_ms),
        "disk_share": statistics.median(shares) if shares else None,
    }


def _fetched_bytes() -> int | None:
    process = psutil.Process()
    return int(process.io_counters().read_bytes) if hasattr(process, "io_counters") else None
