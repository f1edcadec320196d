"""The command `python -m eval stream-world`: prints the report and a JSON document."""

import sys
from functools import partial
from typing import Annotated

import typer

from eval.command_line import AsJson, Checkpoint, Names, Out, Threads, refusals
from eval.play.contender import FRAMES, LANGUAGE, ORACLE
from eval.play.options import CONTENDER_FORM, DEFAULT_CONTENDERS
from eval.result_table import show_document
from eval.stream_benchmark.exam import MAX_SEED, ExamOptions, Topic
from eval.stream_benchmark.run import run_exam
from vstream import SettingsError, VStreamConfig, load_config

Seed = Annotated[
    int, typer.Option(min=0, max=MAX_SEED, help="Which exam; each seed has its own streams.")
]
Hours = Annotated[float, typer.Option(min=0.01, max=24, help="Length of every stream.")]
Streams = Annotated[int, typer.Option(min=1, max=1000, help="How many ordinary streams.")]


def exam_config(model: str | None, threads: int | None) -> VStreamConfig:
    """Return the configuration of exams: a frame a second, also one like the last."""
    values = {"model": model, "threads": threads}
    given = {name: value for name, value in values.items() if value is not None}
    return load_config(**given, source={"sample_fps": 1.0, "dedup_threshold": 0.0})


def stream_world(
    seed: Seed,
    hours: Hours,
    streams: Streams = 4,
    contender: Annotated[
        list[str],
        typer.Option(
            metavar=CONTENDER_FORM,
            help="Who answers; may be repeated, or a YAML file with a list of them. NAME is a "
            f"memory policy of the product (vstream policies), {ORACLE}, {FRAMES} or {LANGUAGE}; "
            "all: every one that the model can follow.",
        ),
    ] = DEFAULT_CONTENDERS,
    policy: Annotated[str | None, typer.Option(hidden=True)] = None,
    exam: Annotated[
        Topic,
        typer.Option(help="all kinds of questions, or when, how often, how long, what first."),
    ] = "all",
    questions: Annotated[
        int, typer.Option(min=1, help="About the ordinary streams; of each kind about time.")
    ] = 400,
    model: Checkpoint = None,
    names: Names = "core",
    limit: Annotated[
        int | None, typer.Option(min=1, help="Put only so many of the questions, for a try.")
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Processes, on all cards in turn or on this CPU; unset is 1, but for the embedded "
            "model on a CPU one a core, where there are minutes of stream for each.",
        ),
    ] = None,
    watches: Annotated[
        bool, typer.Option(help="Put standing questions, too (contender default).")
    ] = True,
    threads: Threads = None,
    out: Out = None,
    as_json: AsJson = False,
) -> None:
    """Questions with exact answers about unseen made-up streams, put to one contender or more."""
    with refusals("choose a directory with --out"):
        if policy is not None:
            raise SettingsError(f"--policy {policy} is now --contender policy={policy}")
        size = partial(
            ExamOptions, seed, round(hours * 3600), streams, questions, names, topic=exam
        )
        config = exam_config(model, threads)
        documents, report = run_exam(
            size, contender, config, out, workers=workers, limit=limit, has_watches=watches
        )
    sys.stdout.write(report)
    if as_json:
        show_document(documents)
