"""measure_retrieval measures what it costs to find blocks in an hour, a day and a week of history.

The keys are those of an hour of a made-up stream, repeated until there are enough (see
`eval.speed.past`), and random ones, which no structure helps to find. What is found is compared
with a score of every key in float32. All times are the processor's own, on one thread: other work
on the machine counts little. `first_token_ms` is of whole questions, which are asked of one length
of history after the other, turn by turn. `search_ms` looks for blocks in every layer, as a question
does. `recall` is the share of the truly best that it finds, `drop_ms` lets the 64 oldest blocks go,
`open_s` opens a stream of as many blocks in files, up to a day, because writing more takes long.
"""

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from typing import Annotated

import psutil
import torch
import typer
from jaxtyping import Float32
from torch import Tensor

from eval.speed.figures import Figures, Row
from eval.speed.past import NAMES, LongPast, drifting, keys_of, later, queries_of, short_past
from eval.speed.questions import measured_questions, unending
from eval.speed.subject import here, session_in, spent_s
from memory import (
    BlockIndex,
    HostTier,
    KVBlock,
    KVMemory,
    MemoryConfig,
    Similarity,
    open_memory,
)
from vstream import Question, Session, load_config

_SIZES = (3_600, 86_400, 604_800)
_LARGEST_OPENED = 86_400
_DROPPED = 64
_PART = 1 << 12
_QUESTIONS = 16
_ROOM_BYTES = 1 << 60
_CPU = torch.device("cpu")
Parts = Iterator[Float32[Tensor, "part layers features"]]


def measure_retrieval(
    blocks: Annotated[
        list[int] | None,
        typer.Option(min=2048, help="Sizes; else an hour, a day and a week, 1 a second."),
    ] = None,
    own: Annotated[int, typer.Option(min=300, help="Seconds of stream that are repeated.")] = 3600,
) -> Figures:
    """What it costs a question to find its blocks in a long past, and to open one from files."""
    sizes, store = blocks or _SIZES, HostTier(_ROOM_BYTES)
    with short_past(own, store) as session:
        keys = keys_of(session.memory)
        asked = [f"when was {name} last seen?" for name in NAMES]
        queries = [*queries_of(session.model, asked)]
        makers: dict[str, Callable[[int], Parts]] = {
            "stream": partial(drifting, keys),
            "random": partial(_random, keys),
        }
        return {
            "here": [here(session.model)],
            "questions": _questions(session, store, sizes),
            "retrieval": [
                {"keys": kind, "blocks": size, **_measured(partial(make, size), queries, session)}
                for size in sizes
                for kind, make in makers.items()
            ],
        }


def _random(own: Float32[Tensor, "layers some features"], size: int) -> Parts:
    for first in range(0, size, _PART):
        yield torch.randn(min(_PART, size - first), len(own), own.shape[2])


def _questions(session: Session, store: HostTier, sizes: Sequence[int]) -> list[Row]:
    model = unending(session.model)
    question, config = measured_questions(model.family), load_config()
    with ExitStack() as opened:
        asked = [
            opened.enter_context(session_in(LongPast(store, size), config, model)) for size in sizes
        ]
        taken_ms = [[_first_token_ms(one, question(0)) for one in asked]]
        for number in range(_QUESTIONS):
            taken_ms.append([_first_token_ms(one, question(number)) for one in asked])
        return [
            {
                "blocks": size,
                "first_token_ms": statistics.median(ms[1:]),
                "best_ms": min(ms[1:]),
                "first_question_ms": ms[0],
                "index_bytes": one.memory.stats().index_bytes,
                "resident_bytes": psutil.Process().memory_info().rss,
            }
            for size, one, ms in zip(sizes, asked, zip(*taken_ms, strict=True), strict=True)
        ]


def _first_token_ms(session: Session, question: Question) -> float:
    began = time.process_time()
    answer = session.ask(question)
    next(iter(answer))
    passed_ms = 1000 * (time.process_time() - began)
    for _ in answer:  # the next question waits for its end
        pass
    return passed_ms


def _measured(
    make: Callable[[], Parts], queries: list[Float32[Tensor, "layers features"]], session: Session
) -> Row:
    num_layers, features = queries[0].shape
    top, similarity = session.policy.retrieve_blocks(), session.policy.shape.similarity
    index, size = BlockIndex(num_layers, features, _CPU, 0), 0
    for part in make():
        index.extend(range(size, size + len(part)), part)
        size += len(part)

    def found(query: Tensor) -> list[list[int]]:
        layers = range(num_layers)
        return [index.search([i], query[i : i + 1], size, top, similarity) for i in layers]

    first_ms = _cpu_ms(partial(found, queries[0]))
    search_ms = [_cpu_ms(partial(found, query)) for query in queries * 2]
    chosen = [found(query) for query in queries]
    shares = []
    for layer in range(num_layers):
        keys = index.keys(range(size), [layer])[0]
        for query, ids in zip(queries, chosen, strict=True):
            best = _best(keys, query[layer], top, similarity)
            shares.append(len(best.intersection(ids[layer])) / top)
    drop_ms = statistics.median(
        _cpu_ms(partial(index.drop, range(first, first + _DROPPED)))
        for first in range(0, 5 * _DROPPED, _DROPPED)
    )
    is_opened = size <= _LARGEST_OPENED
    return {
        "search_ms": statistics.median(search_ms),
        "best_ms": min(search_ms),
        "first_search_ms": first_ms,
        "recall": statistics.mean(shares),
        "worst_recall": min(shares),
        "drop_ms": drop_ms,
        "open_s": _open_s(make(), session.memory) if is_opened else None,
    }


def _best(keys: Tensor, query: Tensor, top: int, similarity: Similarity) -> set[int]:
    scores = keys @ query
    if similarity == "cosine":
        scores /= keys.norm(dim=1)
    return set(scores.topk(top).indices.tolist())


def _open_s(parts: Parts, like: KVMemory) -> float:
    """CPU seconds until a stream of blocks with these keys is open."""
    make = like.provenance
    shape = (make.layers, make.kv_heads, like.info(0).num_tokens, make.head_dim)
    block = KVBlock(like.info(0), torch.randn(shape), torch.randn(shape), like.thumbnail(0))
    with tempfile.TemporaryDirectory() as folder:

        def opened() -> KVMemory:
            config = MemoryConfig(store=f"file://{folder}", host_bytes=1 << 20)
            sizes = make.layers, make.kv_heads, make.head_dim
            return open_memory(config, "scale", make.fingerprint, *sizes, _CPU)

        with opened() as memory:
            record = memory.encoded(block)
            for at, keys in enumerate(keys for part in parts for keys in part.numpy()):
                memory.take(replace(record, head=later(record.head, at, float(at), keys)))
        return _cpu_ms(lambda: opened().close()) / 1000


def _cpu_ms(act: Callable[[], object]) -> float:
    return 1000 * spent_s(act, time.process_time)
