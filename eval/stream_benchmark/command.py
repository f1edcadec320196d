"""`python -m eval stream-world`: options in, tables and a JSON document on stdout out."""

import json
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import torch
import typer
from rich.console import Console

from eval.progress import progress_bar
from eval.run.cost import write_costs
from eval.run.report import write_report
from eval.run.run_directory import RunDirectory
from eval.run.scored import write_scored
from eval.run.worker_pool import devices_of, work_in_processes
from eval.stream_benchmark.benchmark import StreamBenchmark
from eval.stream_benchmark.exam import (
    MAX_SEED,
    MIN_QUESTIONS,
    ExamOptions,
    ExamStream,
    draw_exam,
    exam_digest,
    limited,
)
from eval.stream_benchmark.policy import (
    ALL,
    Policy,
    context_frames,
    default_policy,
    fitting,
    parse_policies,
)
from eval.stream_benchmark.report import PolicyReport, document, policy_reports, tables
from eval.stream_benchmark.worker_setup import Progress, WorkerSetup, default_workers
from eval.stream_world import WORLD_PX, Renderer
from memory import KVMemoryError
from vstream import (
    SettingsError,
    VideoLLM,
    VStreamConfig,
    VStreamError,
    load_config,
    load_video_llm,
)
from vstream.device.cpu_threads import choose_cpu_threads

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
            help="all, or of default, window, sinks, last4, frames, uniform, captions, rekv, full, "
            "oracle some, separated by commas; each may be followed by +bf16, +int8, +int4 and by "
            "+drop. Those of all that the model cannot follow are left out."
        ),
    ] = "default",
    questions: Annotated[int, typer.Option(min=1, help="About the ordinary streams.")] = 400,
    model: Annotated[
        str | None, typer.Option(help="Another checkpoint than the embedded one.")
    ] = None,
    names: Annotated[
        Literal["core", "full"], typer.Option(help="The objects that may appear.")
    ] = "core",
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
        reports = _run(size, policy, config, out, Effort(workers, limit, watches))
    except (VStreamError, KVMemoryError) as error:
        raise typer.BadParameter(str(error)) from error
    except OSError as error:
        raise typer.BadParameter(f"out: {error}; choose a directory with --out") from error
    console = Console(width=None if sys.stdout.isatty() else _PLAIN_WIDTH)
    for table in tables(reports):
        console.print(table)
    if as_json:
        sys.stdout.write(f"{json.dumps(document(reports), allow_nan=False)}\n")


@dataclass(frozen=True)
class Effort:
    """What does not change a record: how many processes, how many of the questions, watches?"""

    workers: int | None
    limit: int | None
    has_watches: bool


def _run(
    size: Callable[[int], ExamOptions],
    policy: str,
    config: VStreamConfig,
    out: Path | None,
    effort: Effort,
) -> dict[str, PolicyReport]:
    model = load_video_llm(config.model, config.device, config.dtype, sample_fps=1.0)
    options = size(model.family.frames_per_block)
    workers = effort.workers or default_workers(model, options)
    threads = _choose_threads(config.threads, workers)
    policies, left_out = _policies(policy, model, options)
    exam = draw_exam(options)
    frame_px = WORLD_PX if model.family.name == "embedded" else FRAME_PX
    digest = exam_digest(exam, Renderer(frame_px))
    asked = limited(exam, effort.limit)
    _warn_of_few_questions(asked)
    path = out or _default_directory(options, digest, model)
    with (
        RunDirectory(path, _described(options, digest, model)) as directory,
        progress_bar() as progress,
    ):
        setup = WorkerSetup(directory.path, config, frame_px, threads)
        benchmark = StreamBenchmark(
            options, asked, policies, path, setup.blocks(model), effort.has_watches
        )
        task = progress.add_task("", total=benchmark.num_steps)

        def advance(told: Progress) -> None:
            doing, steps = told
            progress.update(task, description=doing, advance=steps)

        if workers > 1:
            devices = devices_of(config.device, workers)
            work_in_processes(setup.begin, devices, benchmark.tasks, advance)
        else:
            benchmark.run(lambda *told: advance(told))
        outcomes = benchmark.outcomes()
        write_scored(path, [scored for outcome in outcomes for scored in outcome.scored()])
        write_costs(path, [outcome.cost() for outcome in outcomes])
        write_report(path, left_out)
    sys.stderr.write(f"report: {path / 'report.html'}\n")
    return policy_reports(outcomes)


def _choose_threads(threads: int | None, num_workers: int) -> int:
    """What each process uses."""
    if threads is not None:
        torch.set_num_threads(threads)
        return threads
    if num_workers == 1:
        return choose_cpu_threads()
    return max(1, torch.get_num_threads() // num_workers)


def _policies(
    names: str, model: VideoLLM, options: ExamOptions
) -> tuple[list[Policy], dict[str, str]]:
    """Of `all` those that the model can follow, and why not the others; else all that are named."""
    policies, why = fitting(parse_policies(names), model, options.length_s)
    if why and names != ALL:
        raise SettingsError("; ".join(why.values()))
    for reason in why.values():
        sys.stderr.write(f"left out: {reason}\n")
    return policies, why


def _described(options: ExamOptions, exam: str, model: VideoLLM) -> dict[str, object]:
    """All that must agree for records to belong to one run."""
    return {
        "benchmark": "stream-world",
        **asdict(options),
        "exam": exam,
        "model": model.fingerprint,
        "model_name": Path(model.name).name,
        "dtype": str(model.decoder.dtype),
        "policy": f"{default_policy(model).provenance()} reads={context_frames(model)}",
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
