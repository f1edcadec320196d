"""`python -m eval questions`: a set, and a model or answers, in; its table and a document out."""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console

from eval.play import command_options
from eval.play.options import PlayOptions, out_of
from eval.play.played_run import PlayedRun
from eval.progress import progress_bar
from eval.question_sets.benchmark import Benchmark, Item, Outcome, Texts
from eval.question_sets.data_files import require_videos
from eval.question_sets.endpoint_judge import EndpointJudge
from eval.question_sets.judge import Judge
from eval.question_sets.judging import Judging
from eval.question_sets.local_judge import LocalJudge
from eval.question_sets.played import play_set, texts_of, write_records
from eval.question_sets.predictions import read_predictions
from eval.question_sets.registry import NAMES, make_benchmark
from eval.question_sets.scored_run import (
    ScoredRun,
    agreement_document,
    judge_document,
    judged_again,
)
from eval.question_sets.table import rich_table
from eval.question_sets.vstream_qa import SUBSETS
from memory import KVMemoryError
from vstream import SettingsError, VStreamError

_PLAIN_WIDTH = 200


def questions(
    benchmark: Annotated[str, typer.Argument(help=f"One of {', '.join(NAMES)}.")],
    data: Annotated[Path, typer.Option(help="Where the set lies, in its published layout.")],
    predictions: Annotated[
        Path | None,
        typer.Option(help="The answers of a finished run: JSON lines with id and texts."),
    ] = None,
    items: Annotated[
        Path | None,
        typer.Option(help="Write here what is asked: id, video, times and prompt, one a line."),
    ] = None,
    task: Annotated[list[str] | None, typer.Option(help="Only these; may be repeated.")] = None,
    judge: Annotated[
        str | None,
        typer.Option(help="For open answers: a checkpoint's folder, or a model's name at the URL."),
    ] = None,
    judge_url: Annotated[
        str | None, typer.Option(help="Of an OpenAI-compatible server, up to /chat/completions.")
    ] = None,
    judge_key: Annotated[
        str | None, typer.Option(envvar="OPENAI_API_KEY", help="For that server.", show_envvar=True)
    ] = None,
    second_judge: Annotated[
        str | None, typer.Option(help="Another judge, to agree with or not; at the same URL.")
    ] = None,
    sample: Annotated[int, typer.Option(min=1, help="So many answers are judged by both.")] = 100,
    judgements: Annotated[
        Path | None, typer.Option(help="Where replies of judges are kept; else beside predictions.")
    ] = None,
    model: command_options.Model = None,
    out: command_options.Out = None,
    policy: command_options.PolicyNames = "default",
    limit: command_options.Limit = None,
    seed: command_options.Seed = None,
    fps: command_options.Fps = None,
    max_tokens: command_options.MaxTokens = None,
    temperature: command_options.Temperature = 0.0,
    dedup: command_options.Dedup = 0.0,
    workers: command_options.Workers = 1,
    device: command_options.Device = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="End with one JSON document.")] = False,
) -> None:
    """Play a published question set's videos and ask a model, or score a finished run's answers.

    With --items alone, write down what a run is to be asked.
    """
    judges = _Judges(judge, judge_url, judge_key, second_judge, sample, judgements)
    try:
        if (predictions is None and items is None) == (model is None):
            raise SettingsError(
                "give --predictions to score a run, --items to write it out, or --model to play it"
            )
        asked = make_benchmark(benchmark)
        loaded = asked.load(data, task or ())
        if model is not None:
            options = PlayOptions(
                model=model,
                out=out_of(out),
                policy=policy,
                limit=limit,
                seed=seed,
                fps=fps,
                max_tokens=max_tokens,
                temperature=temperature,
                dedup=dedup,
                workers=workers,
                device=device,
            )
            document = _play(benchmark, play_set(benchmark, asked, loaded, data, options), judges)
        else:
            if items is not None:
                _write_items(items, asked, loaded)
                _warn_of_missing_videos(data, asked, loaded)
            if predictions is None:
                return
            answers = read_predictions(predictions)
            _, document = _score(benchmark, loaded, answers, judges, predictions)
    except (VStreamError, KVMemoryError) as error:
        raise typer.BadParameter(str(error)) from error
    except OSError as error:
        raise typer.BadParameter(f"{error}; choose another file") from error
    if as_json:
        sys.stdout.write(f"{json.dumps(document, allow_nan=False)}\n")


@dataclass(frozen=True)
class _Judges:
    """Who judges open answers, as the user named them."""

    first: str | None
    url: str | None
    key: str | None
    second: str | None
    sample: int
    replies: Path | None


def _play(
    name: str, played: tuple[PlayedRun, Sequence[Item]], judges: _Judges
) -> dict[str, object]:
    """Score each policy of a run that has been played, if there is who can."""
    run, items = played
    document: dict[str, object] = {"run": str(run.directory), "failed": run.failures}
    if name in SUBSETS and judges.first is None:
        sys.stderr.write(
            "not scored: the answers are open; name a --judge, here again or with --predictions "
            f"{', '.join(map(str, run.paths.values()))}\n"
        )
    else:
        outcomes: dict[str, Sequence[Outcome]] = {}
        scores: dict[str, object] = {}
        for policy, path in run.paths.items():
            texts = texts_of(run, policy)
            scored, scores[policy] = _score(name, items, texts, judges, path, f", {policy}")
            outcomes[policy] = scored.outcomes
        write_records(run, outcomes)
        document["policies"] = scores
    sys.stderr.write(f"{run.summary}\n")
    return document


def _score(
    name: str,
    items: Sequence[Item],
    answers: Mapping[str, Texts],
    judges: _Judges,
    predictions: Path,
    of: str = "",
) -> tuple[ScoredRun, dict[str, object]]:
    """Shows the table, too; `of` is added to its title."""
    replies = judges.replies or predictions.with_suffix(".judgements.jsonl")
    judging = _judging(judges.first, judges.url, judges.key, replies)
    run = _scored(name, judging, items, answers)
    document = run.document()
    if judging is not None:
        document["judge"] = judge_document(judging)
    second = _judging(judges.second, judges.url, judges.key, replies)
    if second is not None:
        score = make_benchmark(name, second).score
        found = judged_again(run.outcomes, answers, score, judges.sample)
        document["agreement"] = None if found is None else agreement_document(found)
        document["second_judge"] = judge_document(second)
    _show(run, document, of)
    return run, document


def _judging(name: str | None, url: str | None, key: str | None, replies: Path) -> Judging | None:
    if name is None:
        return None
    judge: Judge
    if url is not None:
        judge = EndpointJudge(name, url, key)
    elif Path(name).is_dir():
        judge = LocalJudge(Path(name), "cuda" if torch.cuda.is_available() else "cpu")
    else:
        raise SettingsError(
            f"judge: {name} is no folder with a checkpoint; give --judge-url if a server has it"
        )
    return Judging(judge, replies)


def _scored(
    name: str, judging: Judging | None, items: Sequence[Item], answers: Mapping[str, Texts]
) -> ScoredRun:
    num_parallel = 1 if judging is None else judging.judge.num_parallel
    with progress_bar() as progress:
        bar = progress.add_task("scoring", total=len(items))
        return ScoredRun.of(
            make_benchmark(name, judging),
            items,
            answers,
            num_parallel,
            lambda: progress.advance(bar),
        )


def _show(run: ScoredRun, document: dict[str, object], of: str) -> None:
    console = Console(width=None if sys.stdout.isatty() else _PLAIN_WIDTH)
    console.print(
        rich_table(f"{run.name}{of}: mean ± standard error, clustered by video", run.rows)
    )
    for name in ("questions", "answered", "predictions_without_question", "awkward"):
        console.print(f"{name.replace('_', ' ')}: {document[name]}")
    for name in ("judge", "second_judge", "agreement"):
        if name in document:
            console.print(f"{name.replace('_', ' ')}: {document[name]}")


def _write_items(path: Path, benchmark: Benchmark, items: Sequence[Item]) -> None:
    """What a run needs, and nothing of the truth but what the published prompt itself tells."""
    with path.open("w", encoding="utf-8") as file:
        for item in items:
            document = {
                "id": item.id,
                "video": item.video,
                "task": item.task,
                "spans_s": [[span.start_s, _or_none(span.end_s)] for span in item.spans],
                "prompt": asdict(benchmark.prompt(item)),
                "prompt_after_yes": _follow_up(benchmark, item),
            }
            file.write(json.dumps(document, allow_nan=False) + "\n")


def _warn_of_missing_videos(data: Path, benchmark: Benchmark, items: Sequence[Item]) -> None:
    try:
        require_videos(data, items, benchmark.published)
    except SettingsError as error:
        sys.stderr.write(f"warning: {error}\n")


def _follow_up(benchmark: Benchmark, item: Item) -> dict[str, str] | None:
    found = benchmark.follow_up(item, "yes")
    return None if found is None else asdict(found)


def _or_none(end_s: float) -> float | None:
    """None where the span ends with the video."""
    return None if end_s == float("inf") else end_s
