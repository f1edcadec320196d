"""The command `python -m eval memory`: prints the report and a JSON document."""

import sys
from typing import Annotated

import typer

from eval.command_line import AsJson, Checkpoint, Names, Out, Threads, refusals
from eval.memory_benchmark.ablations import ABLATIONS
from eval.memory_benchmark.run import run_memory
from eval.play.options import CONTENDER_FORM
from eval.result_table import show_document
from eval.stream_benchmark.command import Hours, Seed, Streams, exam_config
from eval.stream_benchmark.exam import ExamOptions

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
    seed: Seed,
    hours: Hours,
    streams: Streams = 4,
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
    with refusals("choose a directory with --out"):
        options = ExamOptions(seed, round(hours * 3600), streams, questions, names)
        documents, report = run_memory(options, contender, exam_config(model, threads), out)
    sys.stdout.write(report)
    if as_json:
        show_document(documents)
