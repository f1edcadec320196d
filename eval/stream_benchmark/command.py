"""`python -m eval stream-world`: options in, tables and a JSON document on stdout out."""

import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import torch
import typer
from rich.console import Console

from eval.progress import progress_bar
from eval.stream_benchmark.benchmark import StreamBenchmark
from eval.stream_benchmark.exam import (
    MAX_SEED,
    MIN_QUESTIONS,
    ExamOptions,
    ExamStream,
    draw_exam,
    exam_digest,
)
from eval.stream_benchmark.policy import (
    Policy,
    default_settings,
    parse_policies,
    require_room,
)
from eval.stream_benchmark.report import PolicyReport, document, tables
from eval.stream_benchmark.run_directory import RunDirectory
from eval.stream_benchmark.stream_blocks import StreamBlocks
from eval.stream_world import WORLD_PX, Renderer
from memory import KVMemoryError
from vstream import VideoLLM, VStreamConfig, VStreamError, load_config, load_video_llm
from vstream.cpu_threads import choose_cpu_threads

FRAME_PX = 384
"""Of the frames that other models than the embedded one see."""
_PLAIN_WIDTH = 200


def stream_world(
    seed: Annotated[
        int, typer.Option(min=0, max=MAX_SEED, help="Which exam; each seed has its own streams.")
    ],
    hours: Annotated[float, typer.Option(min=0.01, max=24, help="Length of every stream.")],
    streams: Annotated[int, typer.Option(min=1, max=1000, help="How many ordinary streams.")] = 4,
    policy: Annotated[
        str,
        typer.Option(
            help="default, window, last4, captions, uniform, rekv, full, oracle, separated by "
            "commas; each may be followed by +bf16, +int8, +int4 and by +drop."
        ),
    ] = "default",
    questions: Annotated[int, typer.Option(min=1, help="About the ordinary streams.")] = 400,
    model: Annotated[
        str | None, typer.Option(help="Another checkpoint than the embedded one.")
    ] = None,
    names: Annotated[
        Literal["core", "full"], typer.Option(help="The objects that may appear.")
    ] = "core",
    watches: Annotated[
        bool, typer.Option(help="Put standing questions, too (policy default).")
    ] = True,
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads; else measured.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="Where records are kept, and an interrupted run goes on.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="End with one JSON document.")] = False,
) -> None:
    """Questions with exact answers about unseen made-up streams, under one policy or more."""
    values = {"model": model, "threads": threads}
    given = {name: value for name, value in values.items() if value is not None}
    try:
        config = load_config(**given, source={"sample_fps": 1.0})
        length_s = round(hours * 3600)
        size = partial(ExamOptions, seed, length_s, streams, questions, names)
        reports = _run(size, parse_policies(policy), config, out, watches)
    except (VStreamError, KVMemoryError) as error:
        raise typer.BadParameter(str(error)) from error
    except OSError as error:
        raise typer.BadParameter(f"out: {error}; choose a directory with --out") from error
    console = Console(width=None if sys.stdout.isatty() else _PLAIN_WIDTH)
    for table in tables(reports):
        console.print(table)
    if as_json:
        sys.stdout.write(f"{json.dumps(document(reports), allow_nan=False)}\n")


def _run(
    size: Callable[[int], ExamOptions],
    policies: list[Policy],
    config: VStreamConfig,
    out: Path | None,
    has_watches: bool,
) -> dict[str, PolicyReport]:
    if config.threads is None:
        choose_cpu_threads()
    else:
        torch.set_num_threads(config.threads)
    model = load_video_llm(config.model, config.device, config.dtype, sample_fps=1.0)
    options = size(model.family.frames_per_block)
    for policy in policies:
        require_room(policy, model, options.length_s)
    exam = draw_exam(options)
    _warn_of_few_questions(exam)
    renderer = Renderer(WORLD_PX if model.family.name == "embedded" else FRAME_PX)
    digest = exam_digest(exam, renderer)
    described = _described(options, digest, model)
    path = out or _default_directory(options, digest, model)
    with RunDirectory(path, described) as directory, progress_bar() as progress:
        blocks = StreamBlocks(directory, model, config, renderer)
        benchmark = StreamBenchmark(options, exam, policies, directory, blocks, has_watches)
        task = progress.add_task("", total=benchmark.num_steps)
        benchmark.run(lambda doing, steps: progress.update(task, description=doing, advance=steps))
        return benchmark.reports()


def _described(options: ExamOptions, exam: str, model: VideoLLM) -> dict[str, object]:
    """All that must agree for records to belong to one run."""
    return {
        **asdict(options),
        "exam": exam,
        "model": model.fingerprint,
        "dtype": str(model.decoder.dtype),
        "settings": default_settings(model).model_dump(),
    }


def _default_directory(options: ExamOptions, digest: str, model: VideoLLM) -> Path:
    dtype = str(model.decoder.dtype).removeprefix("torch.")
    name = f"{options.seed}-{options.length_s / 3600:g}h-{digest}-{model.fingerprint}-{dtype}"
    return Path("runs/stream-world") / name


def _warn_of_few_questions(exam: list[ExamStream]) -> None:
    asked = [drawn for stream in exam if stream.style == "seen" for drawn in stream.questions]
    num_questions = sum(drawn.wording == "train" for drawn in asked)
    if num_questions < MIN_QUESTIONS:
        sys.stderr.write(
            f"warning: {num_questions} questions in ordinary wordings; fewer than {MIN_QUESTIONS} "
            "say little\n"
        )
