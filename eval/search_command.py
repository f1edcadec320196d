"""`python -m eval search`, `search-scale`, `retrieval-scale`: options in, tables out."""

import json
import sys
from dataclasses import asdict
from typing import Annotated

import torch
import typer
from rich.console import Console
from rich.table import Table

from eval.retrieval_scale import measure_retrieval
from eval.search import measure_search
from eval.search_scale import measure_scale
from vstream.config import load_config


def search(
    seed: Annotated[int, typer.Option(min=0, max=1 << 20, help="Which streams.")] = 0,
    streams: Annotated[int, typer.Option(min=1, max=1000, help="How many.")] = 4,
    minutes: Annotated[float, typer.Option(min=1, help="Length of each.")] = 10,
    as_json: Annotated[bool, typer.Option("--json", help="End with one JSON document.")] = False,
) -> None:
    """How often a search for what a made-up stream shows finds it, by layer and by wording."""
    torch.set_num_threads(1)
    figures, chance = measure_search(load_config(), seed, streams, minutes)
    table = Table("layers", "words", "found in the best 5", "recall of sightings", "searches")
    for one in figures:
        found, recall = f"{one.found:.1%}", f"{one.recall:.1%}"
        table.add_row(one.layers, one.form, found, recall, str(one.searches))
    console = Console()
    console.print(table)
    console.print(f"found by chance: {chance:.1%}")
    if as_json:
        whole = {"chance": chance, "figures": [asdict(one) for one in figures]}
        sys.stdout.write(f"{json.dumps(whole, allow_nan=False)}\n")


def search_scale(
    blocks: Annotated[
        list[int] | None, typer.Option(min=2048, help="Sizes; else a day and a week at 1 a second.")
    ] = None,
    hnsw_up_to: Annotated[int, typer.Option(help="No graph is built over more blocks.")] = 86_400,
    threads: Annotated[int, typer.Option(min=1, help="Threads of FAISS.")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="End with one JSON document.")] = False,
) -> None:
    """What a search of a long past costs by kind of FAISS index."""
    torch.set_num_threads(1)
    sizes = tuple(blocks or (86_400, 604_800))
    figures, first_token_ms, query_ms = measure_scale(load_config(), sizes, hnsw_up_to, threads)
    table = Table("index", "blocks", "features", "build", "search", "recall")
    for one in figures:
        build, spent = f"{one.build_s:.1f} s", f"{one.search_ms:.2f} ms"
        counts = str(one.blocks), str(one.features)
        table.add_row(one.kind, *counts, build, spent, f"{one.recall:.1%}")
    console = Console()
    console.print(table)
    console.print(f"first token of an answer {first_token_ms:.1f} ms, query {query_ms:.1f} ms")
    if as_json:
        whole = {
            "first_token_ms": first_token_ms,
            "query_ms": query_ms,
            "figures": [asdict(one) for one in figures],
        }
        sys.stdout.write(f"{json.dumps(whole, allow_nan=False)}\n")


def retrieval_scale(
    blocks: Annotated[
        list[int] | None, typer.Option(min=2048, help="Sizes; else an hour and a day, 1 a second.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="End with one JSON document.")] = False,
) -> None:
    """What it costs a question to find its blocks in a long past, and to open one from files."""
    torch.set_num_threads(1)
    figures = measure_retrieval(load_config(), tuple(blocks or (3_600, 86_400)))
    table = Table("keys", "blocks", "a question", "recall", "letting 64 go", "opening")
    for one in figures:
        question, drop = f"{one.question_ms:.1f} ms", f"{one.drop_ms:.2f} ms"
        opening, recall = f"{one.open_s:.2f} s", f"{one.recall:.2%}"
        table.add_row(one.keys, str(one.blocks), question, recall, drop, opening)
    Console().print(table)
    if as_json:
        sys.stdout.write(f"{json.dumps([asdict(one) for one in figures], allow_nan=False)}\n")
