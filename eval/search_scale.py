"""Search at scale: vectors of a day and of a week in, what a search of them costs by kind of index.

The vectors are those of a made-up stream, repeated with noise until there are enough: real ones lie
in clusters, which is what a coarse stage lives by. Beside them stands the time to the first token
of an answer, which a search may not add to noticeably.
"""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import faiss
import numpy as np
import torch
from jaxtyping import Float32

from encoders import Frame
from eval.stream_world import WORLD_PX, Renderer, write_script
from vstream import MomentSearch, Session, VStreamConfig, load_video_llm, open_session
from vstream.engine.prefill import prefix_kv
from vstream.engine.text_query import text_queries
from vstream.search.moment_search import PHRASE

TOP = 40
LISTS, PROBES = 1024, 16
NEIGHBOURS, CANDIDATES = 32, 128
_NOISE = 0.3
"""Length of what is added to a vector of length 1."""
_STREAM_S = 300
_NAMES = ("a dog", "a red star", "a cat", "an apple", "a car", "a blue circle", "a tree", "a cup")
_ROUNDS = 5


@dataclass(frozen=True)
class ScaleFigures:
    """`recall` is the share of the exact best that are found; a build is from vectors to use."""

    kind: str
    blocks: int
    features: int
    build_s: float
    search_ms: float
    recall: float


def measure_scale(
    config: VStreamConfig, sizes: tuple[int, ...], hnsw_up_to: int, threads: int
) -> tuple[list[ScaleFigures], float, float]:
    """Figures of each kind at each size; ms of a first token and of making a search's query."""
    model = load_video_llm(config.model, config.device, config.dtype, 1.0)
    renderer = Renderer(WORLD_PX)
    with open_session(config, model, "scale") as session:
        for moment in write_script(11, _STREAM_S).moments:
            session.push([Frame(renderer.frame(moment), float(moment.time_s), 0.0)])
        vectors, queries, query_ms = _vectors(session)
        first_ms = statistics.median(
            session.ask(f"when was {name} last seen?").answer.timings_ms.ttft
            for _ in range(_ROUNDS)
            for name in _NAMES
        )
    faiss.omp_set_num_threads(threads)
    figures = []
    for size in sizes:
        figures += _at_size(_repeated(vectors, size), queries, hnsw_up_to)
    return figures, first_ms, query_ms


def _vectors(session: Session) -> tuple[np.ndarray, np.ndarray, float]:
    """Unit vectors of all blocks and of the searches, as MomentIndex makes them; ms a query."""
    model = session.model
    layers = MomentSearch(model).layers
    keys = session.memory.representative_keys(session.memory.visible(None))[layers]
    with torch.inference_mode():
        prefix = prefix_kv(model.decoder, model.family.prefix())
        made, times_ms = [], []
        for name in _NAMES:
            started = time.perf_counter()
            tokens = model.family.question(PHRASE.replace("{words}", name))
            made.append(torch.stack(text_queries(model.decoder, prefix, tokens))[layers])
            times_ms.append(1000 * (time.perf_counter() - started))
    return _unit(keys), _unit(torch.stack(made, dim=1)), statistics.median(times_ms)


def _unit(keys: torch.Tensor) -> Float32[np.ndarray, "rows features"]:
    rows = torch.nn.functional.normalize(keys, dim=2).transpose(0, 1).flatten(1)
    return torch.nn.functional.normalize(rows, dim=1).numpy()


def _repeated(vectors: np.ndarray, size: int) -> Float32[np.ndarray, "rows features"]:
    random = np.random.default_rng(0)
    many = np.resize(vectors, (size, vectors.shape[1]))
    for start in range(0, size, 1 << 14):
        part = many[start : start + (1 << 14)]
        part += random.standard_normal(part.shape, np.float32) * (_NOISE / part.shape[1] ** 0.5)
        part /= np.linalg.norm(part, axis=1, keepdims=True)
    return many


def _at_size(vectors: np.ndarray, queries: np.ndarray, hnsw_up_to: int) -> list[ScaleFigures]:
    size, features = vectors.shape

    def flat() -> Any:
        return faiss.IndexIDMap2(faiss.IndexFlatIP(features))

    def inverted() -> Any:
        index = faiss.IndexIVFFlat(
            faiss.IndexFlatIP(features), features, LISTS, faiss.METRIC_INNER_PRODUCT
        )
        index.nprobe = PROBES
        index.cp.niter = 10
        index.cp.max_points_per_centroid = 64
        index.train(vectors)
        return index

    def graph() -> Any:
        index = faiss.IndexHNSWFlat(features, NEIGHBOURS, faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efSearch = CANDIDATES
        return index

    kinds: dict[str, Callable[[], Any]] = {"flat": flat, f"IVF{LISTS}": inverted}
    if size <= hnsw_up_to:
        kinds[f"HNSW{NEIGHBOURS}"] = graph
    exact: list[set[int]] = []
    figures = []
    for kind, make in kinds.items():
        started = time.perf_counter()
        index = make()
        if kind.startswith("HNSW"):
            index.add(vectors)  # it takes no ids, and cannot remove
        else:
            index.add_with_ids(vectors, np.arange(size))
        build_s = time.perf_counter() - started
        times_ms, found = [], []
        for round_number in range(_ROUNDS):
            for query in queries:
                started = time.perf_counter()
                _, ids = index.search(query[None], TOP)
                times_ms.append(1000 * (time.perf_counter() - started))
                if round_number == 0:
                    found.append(set(ids[0].tolist()))
        exact = exact or found
        recall = statistics.mean(
            len(got & best) / TOP for got, best in zip(found, exact, strict=True)
        )
        search_ms = statistics.median(times_ms)
        figures.append(ScaleFigures(kind, size, features, build_s, search_ms, recall))
    return figures
