"""Retrieval at scale: histories of a day and of a week in, what finding blocks in them costs.

The keys are those of a made-up stream, repeated with noise until there are enough, and random ones,
which no structure helps to find. What is found is compared with a score of every key in float32.
All times are the processor's own, on one thread: other work on the machine counts little.
"""

import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import torch
from jaxtyping import Float32
from torch import Tensor

from encoders import Frame
from eval.stream_world import WORLD_PX, Renderer, write_script
from memory import BlockIndex, KVBlock, KVMemory, MemoryConfig, Similarity, open_memory
from vstream import Session, VStreamConfig, load_video_llm, open_session
from vstream.engine.prefill import prefix_kv
from vstream.engine.text_query import text_queries

_NAMES = ("a dog", "a red star", "a cat", "an apple", "a car", "a blue circle", "a tree", "a cup")
_STREAM_S = 300
_NOISE = 0.3
"""Of the spread of a feature."""
_DROPPED = 64
_CPU = torch.device("cpu")


@dataclass(frozen=True)
class RetrievalFigures:
    """A question looks for blocks in every layer. `recall` is the share of the truly best that it
    finds, `drop_ms` lets the 64 oldest blocks go, `open_s` opens a stream of so many in files.
    """

    keys: str
    blocks: int
    question_ms: float
    recall: float
    drop_ms: float
    open_s: float


def measure_retrieval(config: VStreamConfig, sizes: tuple[int, ...]) -> list[RetrievalFigures]:
    """Figures of both kinds of keys at each size."""
    model = load_video_llm(config.model, config.device, config.dtype, 1.0)
    renderer = Renderer(WORLD_PX)
    with open_session(config, model, "scale") as session:
        for moment in write_script(11, _STREAM_S).moments:
            session.push([Frame(renderer.frame(moment), float(moment.time_s), 0.0)])
        memory, family = session.memory, model.family
        own = memory.representative_keys(memory.visible(None))
        with torch.inference_mode():
            prefix = prefix_kv(model.decoder, family.prefix())
            asked = [family.question(f"when was {name} last seen?") for name in _NAMES]
            queries = [torch.stack(text_queries(model.decoder, prefix, one)) for one in asked]
        figures = []
        for size in sizes:
            for kind, make in (("stream", _repeated), ("random", _random)):
                figures.append(_figures(kind, make(own, size), queries, session))
    return figures


def _repeated(own: Float32[Tensor, "layers some features"], size: int) -> Tensor:
    keys = own.transpose(0, 1)[torch.arange(size) % own.shape[1]]
    spread = own.std(dim=1)
    for part in keys.split(1 << 13):
        part += _NOISE * spread * torch.randn_like(part)
    return keys


def _random(own: Float32[Tensor, "layers some features"], size: int) -> Tensor:
    return torch.randn(size, own.shape[0], own.shape[2])


def _figures(
    kind: str,
    keys: Float32[Tensor, "blocks layers features"],
    queries: list[Float32[Tensor, "layers features"]],
    session: Session,
) -> RetrievalFigures:
    size, num_layers, features = keys.shape
    top, similarity = session.policy.retrieve_blocks(), session.policy.shape.similarity
    index = BlockIndex(num_layers, features, _CPU)
    for first in range(0, size, 1 << 12):
        part = keys[first : first + (1 << 12)]
        index.extend(range(first, first + len(part)), part)

    def found(query: Tensor) -> list[list[int]]:
        layers = range(num_layers)
        return [index.search([i], query[i : i + 1], size, top, similarity) for i in layers]

    times_ms = [_cpu_ms(partial(found, query)) for query in queries * 2]
    recall = statistics.mean(
        len(_best(keys[:, layer], query[layer], top, similarity).intersection(some)) / top
        for query in queries
        for layer, some in enumerate(found(query))
    )
    drops_ms = [
        _cpu_ms(partial(index.drop, range(first, first + _DROPPED)))
        for first in range(0, 5 * _DROPPED, _DROPPED)
    ]
    question_ms, drop_ms = statistics.median(times_ms), statistics.median(drops_ms)
    open_s = _open_s(keys, session.memory)
    return RetrievalFigures(kind, size, question_ms, recall, drop_ms, open_s)


def _best(keys: Tensor, query: Tensor, top: int, similarity: Similarity) -> set[int]:
    scores = keys @ query
    if similarity == "cosine":
        scores = torch.cosine_similarity(keys, query[None], dim=1)
    return set(scores.topk(top).indices.tolist())


def _open_s(keys: Float32[Tensor, "blocks layers features"], like: KVMemory) -> float:
    """CPU seconds until a stream of blocks with these keys is open."""
    shape = (keys.shape[1], like.make.kv_heads, like.info(0).num_tokens, like.make.head_dim)
    block = KVBlock(like.info(0), torch.randn(shape), torch.randn(shape), like.thumbnail(0))
    with tempfile.TemporaryDirectory() as folder:

        def opened() -> KVMemory:
            config = MemoryConfig(store=f"file://{folder}", host_bytes=1 << 20)
            make = like.make
            sizes = make.layers, make.kv_heads, make.head_dim
            return open_memory(config, "scale", make.fingerprint, *sizes, _CPU)

        with opened() as memory:
            record = memory.encoded(block)
            for at, of_block in enumerate(keys.numpy()):
                info = replace(record.head.info, start_s=float(at), end_s=float(at))
                head = replace(record.head, info=info, representative_keys=of_block)
                memory.take(replace(record, head=head))
        return _cpu_ms(lambda: opened().close()) / 1000


def _cpu_ms(act: Callable[[], object]) -> float:
    started = time.process_time()
    act()
    return 1000 * (time.process_time() - started)
