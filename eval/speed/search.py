"""measure_search measures what a search of the vectors of a day or a week costs.

The vectors are those of a made-up stream, repeated with noise until there are enough: real ones lie
in clusters, which is what a coarse stage lives by. Beside them stands the time to the first token
of an answer, which a search may not add to noticeably. `recall` is the share of the exact best that
are found; a build is from vectors to use.
"""

import statistics
import time
from collections.abc import Callable, Iterator
from typing import Annotated, Any

import faiss
import numpy as np
import torch
import typer
from jaxtyping import Float32

from eval.speed.figures import Figures, Row
from eval.speed.past import NAMES, NOISE, keys_of, queries_of, short_past
from vstream import MomentSearch, Question
from vstream.search.moment_search import PHRASE

TOP = 40
LISTS, PROBES = 1024, 16
NEIGHBOURS, CANDIDATES = 32, 128
_ROUNDS = 5


def measure_search(
    blocks: Annotated[
        list[int] | None, typer.Option(min=2048, help="Sizes; else a day and a week at 1 a second.")
    ] = None,
    hnsw_up_to: Annotated[int, typer.Option(help="No graph is built over more blocks.")] = 86_400,
    threads: Annotated[int, typer.Option(min=1, help="Threads of FAISS.")] = 1,
) -> Figures:
    """What a search of a long past costs by kind of FAISS index."""
    with short_past() as session:
        layers = MomentSearch(session.model).layers
        vectors = _unit(keys_of(session.memory)[layers])
        started = time.perf_counter()
        asked = [PHRASE.replace("{words}", name) for name in NAMES]
        queries = _unit(queries_of(session.model, asked)[:, layers].transpose(0, 1))
        query_ms = 1000 * (time.perf_counter() - started) / len(NAMES)
        first_token_ms = statistics.median(
            session.ask(Question(f"when was {name} last seen?", plan=False)).answer.timings_ms.ttft
            for name in NAMES * _ROUNDS
        )
    faiss.omp_set_num_threads(threads)
    indexes = [
        row
        for size in blocks or [86_400, 604_800]
        for row in _at_size(_repeated(vectors, size), queries, hnsw_up_to)
    ]
    return {
        "indexes": indexes,
        "an answer": [{"first_token_ms": first_token_ms, "query_ms": query_ms}],
    }


def _unit(keys: torch.Tensor) -> Float32[np.ndarray, "rows features"]:
    rows = torch.nn.functional.normalize(keys, dim=2).transpose(0, 1).flatten(1)
    return torch.nn.functional.normalize(rows, dim=1).numpy()


def _repeated(vectors: np.ndarray, size: int) -> Float32[np.ndarray, "rows features"]:
    random = np.random.default_rng(0)
    many = np.resize(vectors, (size, vectors.shape[1]))
    for start in range(0, size, 1 << 14):
        part = many[start : start + (1 << 14)]
        part += random.standard_normal(part.shape, np.float32) * (NOISE / part.shape[1] ** 0.5)
        part /= np.linalg.norm(part, axis=1, keepdims=True)
    return many


def _inverted(vectors: np.ndarray) -> Any:
    features = vectors.shape[1]
    flat = faiss.IndexFlatIP(features)
    index = faiss.IndexIVFFlat(flat, features, LISTS, faiss.METRIC_INNER_PRODUCT)
    index.nprobe = PROBES
    index.cp.niter = 10
    index.cp.max_points_per_centroid = 64
    index.train(vectors)
    return index


def _graph(vectors: np.ndarray) -> Any:
    index = faiss.IndexHNSWFlat(vectors.shape[1], NEIGHBOURS, faiss.METRIC_INNER_PRODUCT)
    index.hnsw.efSearch = CANDIDATES
    return index


_KINDS: dict[str, Callable[[np.ndarray], Any]] = {
    "flat": lambda vectors: faiss.IndexIDMap2(faiss.IndexFlatIP(vectors.shape[1])),
    f"IVF{LISTS}": _inverted,
    f"HNSW{NEIGHBOURS}": _graph,
}


def _at_size(vectors: np.ndarray, queries: np.ndarray, hnsw_up_to: int) -> Iterator[Row]:
    size, features = vectors.shape
    exact: list[set[int]] = []
    for kind, make in _KINDS.items():
        is_graph = kind.startswith("HNSW")
        if is_graph and size > hnsw_up_to:
            continue
        started = time.perf_counter()
        index = make(vectors)
        if is_graph:
            index.add(vectors)  # it takes no ids, and cannot remove
        else:
            index.add_with_ids(vectors, np.arange(size))
        build_s = time.perf_counter() - started
        times_ms, found = [], []
        for query in [*queries] * _ROUNDS:
            started = time.perf_counter()
            _, ids = index.search(query[None], TOP)
            times_ms.append(1000 * (time.perf_counter() - started))
            found.append(set(ids[0].tolist()))
        exact = exact or found
        shares = [len(got & best) / TOP for got, best in zip(found, exact, strict=True)]
        yield {
            "kind": kind,
            "blocks": size,
            "features": features,
            "build_s": build_s,
            "search_ms": statistics.median(times_ms),
            "recall": statistics.mean(shares),
        }
