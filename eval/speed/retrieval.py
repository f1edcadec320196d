"""measure_retrieval measures what it costs to find blocks in histories of an hour or a day.

The keys are those of a made-up stream, repeated with noise until there are enough, and random ones,
which no structure helps to find. What is found is compared with a score of every key in float32.
All times are the processor's own, on one thread: other work on the machine counts little. A
question looks for blocks in every layer. `recall` is the share of the truly best that it finds,
`drop_ms` lets the 64 oldest blocks go, `open_s` opens a stream of so many in files.
"""

import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from typing import Annotated

import torch
import typer
from jaxtyping import Float32
from torch import Tensor

from eval.speed.figures import Figures, Row
from eval.speed.past import NAMES, NOISE, keys_of, queries_of, short_past, take_at
from eval.speed.subject import spent_s
from memory import BlockIndex, KVBlock, KVMemory, MemoryConfig, Similarity, open_memory
from vstream import Session

_DROPPED = 64
_PART = 1 << 12
_CPU = torch.device("cpu")


def measure_retrieval(
    blocks: Annotated[
        list[int] | None, typer.Option(min=2048, help="Sizes; else an hour and a day, 1 a second.")
    ] = None,
) -> Figures:
    """What it costs a question to find its blocks in a long past, and to open one from files."""
    with short_past() as session:
        own = keys_of(session.memory)
        asked = [f"when was {name} last seen?" for name in NAMES]
        queries = [*queries_of(session.model, asked)]
        makers: dict[str, Callable[[int], Tensor]] = {
            "stream": lambda size: _repeated(own, size),
            "random": lambda size: torch.randn(size, len(own), own.shape[2]),
        }
        rows = [
            {"keys": kind, "blocks": size, **_measured(make(size), queries, session)}
            for size in blocks or [3_600, 86_400]
            for kind, make in makers.items()
        ]
    return {"retrieval": rows}


def _repeated(own: Float32[Tensor, "layers some features"], size: int) -> Tensor:
    keys = own.transpose(0, 1)[torch.arange(size) % own.shape[1]]
    spread = own.std(dim=1)
    for part in keys.split(1 << 13):
        part += NOISE * spread * torch.randn_like(part)
    return keys


def _measured(
    keys: Float32[Tensor, "blocks layers features"],
    queries: list[Float32[Tensor, "layers features"]],
    session: Session,
) -> Row:
    size, num_layers, features = keys.shape
    top, similarity = session.policy.retrieve_blocks(), session.policy.shape.similarity
    index = BlockIndex(num_layers, features, _CPU)
    for number, part in enumerate(keys.split(_PART)):
        index.extend(range(number * _PART, number * _PART + len(part)), part)

    def found(query: Tensor) -> list[list[int]]:
        layers = range(num_layers)
        return [index.search([i], query[i : i + 1], size, top, similarity) for i in layers]

    question_ms = statistics.median(_cpu_ms(partial(found, query)) for query in queries * 2)
    recall = statistics.mean(
        len(_best(keys[:, layer], query[layer], top, similarity).intersection(some)) / top
        for query in queries
        for layer, some in enumerate(found(query))
    )
    drop_ms = statistics.median(
        _cpu_ms(partial(index.drop, range(first, first + _DROPPED)))
        for first in range(0, 5 * _DROPPED, _DROPPED)
    )
    return {
        "question_ms": question_ms,
        "recall": recall,
        "drop_ms": drop_ms,
        "open_s": _open_s(keys, session.memory),
    }


def _best(keys: Tensor, query: Tensor, top: int, similarity: Similarity) -> set[int]:
    scores = keys @ query
    if similarity == "cosine":
        scores = torch.cosine_similarity(keys, query[None], dim=1)
    return set(scores.topk(top).indices.tolist())


def _open_s(keys: Float32[Tensor, "blocks layers features"], like: KVMemory) -> float:
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
            for at, of_block in enumerate(keys.numpy()):
                take_at(memory, record, float(at), of_block)
        return _cpu_ms(lambda: opened().close()) / 1000


def _cpu_ms(act: Callable[[], object]) -> float:
    return 1000 * spent_s(act, time.process_time)
