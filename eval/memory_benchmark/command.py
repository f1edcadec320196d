"""The command `python -m eval memory`: prints the report and a JSON document."""

import sys
from typing import Annotated

import typer

from eval.command_line import AsJson, Checkpoint, Names, Out, Threads, refusals
from eval.memory_benchmark.ablations import ABLATIONS
from eval.memory_benchmark.run import run_memory
from eval.play.options import CONTENDER_FORM
from eval.result_table import show_document
from eval.stream_benchmark.exam import MAX_SEED, ExamOptions
from vstream import load_config

DEFAULT_CONTENDERS = [
    "policy=default",
    "policy=default,codec=int4",
    "policy=moments,tokens=1",
    "policy=moments,tokens=2",
    "policy=even_moments,tokens=1",
    "policy=mean_moments,tokens=1",
    "policy=default,codec=int4,drop_similarity=0.95",
]


def memory(
    seed: Annotated[
        int, typer.Option(min=0, max=MAX_SEED, help="Which streams; each seed has its own.")
    ],
    hours: Annotated[float, typer.Option(min=0.01, max=24, help="Length of every stream.")],
    streams: Annotated[int, typer.Option(min=1, max=1000, help="How many streams.")] = 4,
    questions: Annotated[int, typer.Option(min=1, help="About all streams together.")] = 400,
    contender: Annotated[
        list[str],
        typer.Option(
            metavar=CONTENDER_FORM,
            help="What is compared with everything kept as it was made; may be repeated, or a YAML "
            f"file with a list of them. NAME is a memory policy (vstream policies), `all`, or "
            f"one of {', '.join(ABLATIONS)}. Those of earlier starts stay in the report.",
        ),
    ] = DEFAULT_CONTENDERS,
    model: Checkpoint = None,
    names: Names = "core",
    threads: Threads = None,
    out: Out = None,
    as_json: AsJson = False,
) -> None:
    """What memories cost in bytes, and what answers lose by it, on unseen made-up streams."""
    values = {"model": model, "threads": threads}
    given = {name: value for name, value in values.items() if value is not None}
    with refusals("choose a directory with --out"):
        config = load_config(**given, source={"sample_fps": 1.0, "dedup_threshold": 0.0})
        options = ExamOptions(seed, round(hours * 3600), streams, questions, names)
        documents, report = run_memory(options, contender, config, out)
    sys.stdout.write(report)
    if as_json:
        show_document(documents)
