"""`python -m eval etbench` scores answers to E.T. Bench, or a model that sees its videos."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from encoders.sentence_encoder import SentenceEncoder
from eval.etbench.files import PublishedData, join, read_predictions, read_samples, read_subset
from eval.etbench.played import evaluate_played, play_samples
from eval.etbench.scores import MERGED, OVERALL, Scores, score
from eval.etbench.sentence_likeness import SentenceLikeness
from eval.play.options import PlayOptions, play_command
from eval.result_table import NOTHING, ResultTable, show, show_document
from vstream import SettingsError


@play_command
def etbench(
    score_only: Annotated[
        bool, typer.Option("--score-only", help="Score answers that are there; run no model.")
    ] = False,
    annotations: Annotated[Path | None, typer.Option(help="The annotation file.")] = None,
    predictions: Annotated[
        Path | None, typer.Option(help="The same list with an answer `a` in each.")
    ] = None,
    subset: Annotated[Path | None, typer.Option(help="Score these alone: the subset file.")] = None,
    data: Annotated[
        Path | None,
        typer.Option(help="The published folder: play its videos, or say what is missing in it."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="End with one JSON document.")] = False,
    play: PlayOptions | None = None,
) -> None:
    """E.T. Bench: the published score of a file of answers, or of a model that sees the videos."""
    keys = None if subset is None else read_subset(subset)
    likeness = SentenceLikeness(SentenceEncoder())
    if score_only:
        if annotations is None or predictions is None:
            raise SettingsError("--score-only needs --annotations and --predictions")
        samples, given = read_samples(annotations), read_predictions(predictions)
        answered, unanswered = join(samples, given, keys)
        found = score(answered, likeness, len(unanswered))
        _show(found)
        document = found.document()
    elif data is None:
        raise SettingsError("give --score-only with answers, or --data with --model to play")
    elif play is None:
        _check(PublishedData(data))
        return
    else:
        run, samples = play_samples(PublishedData(data), keys, play)
        by_policy = evaluate_played(PublishedData(data), run, samples, likeness)
        for policy, scores in by_policy.items():
            _show(scores, f", {policy}")
        documents = {policy: scores.document() for policy, scores in by_policy.items()}
        document = {"run": str(run.directory), "failed": run.failures, "policies": documents}
        sys.stderr.write(f"{run.summary}\n")
    if as_json:
        show_document(document)


def _check(data: PublishedData) -> None:
    samples = data.samples()
    data.subset()
    data.require_videos(samples)
    videos = len({sample.video for sample in samples})
    show([], f"{len(samples)} samples over {videos} videos, all there")


def _show(scores: Scores, of: str = "") -> None:
    """Merged and overall numbers in percent, the sources, and how many have no answer."""
    summary = ResultTable(f"E.T. Bench{of}", ("", "percent"), tuple(_summary(scores)))
    columns = ("", "samples", "failed", "figure", "percent")
    sources = ResultTable("by task and source", columns, tuple(_sources(scores)))
    unanswered = f"{scores.num_unanswered} annotated samples have no answer"
    show([summary, sources], *([unanswered] if scores.num_unanswered else []))


def _summary(scores: Scores) -> Iterator[tuple[str, ...]]:
    for name, parts in MERGED.items():
        yield name, _percent(scores.merged[name])
        for part in parts:
            yield f"  {part}", _percent(scores.overall[part], 100)


def _sources(scores: Scores) -> Iterator[tuple[str, ...]]:
    names: dict[str, str] = {**dict(OVERALL.values()), "dvc": "F1", "slc": "F1"}
    for task, sources in scores.by_task_source.items():
        for source, figures in sources.items():
            percent = _percent(figures[names[task]], 100)
            counts = str(figures["Total"]), str(figures["Failed"])
            yield f"{task} {source}", *counts, names[task], percent


def _percent(number: float | None, scale: float = 1.0) -> str:
    return NOTHING if number is None else f"{scale * number:.1f}"
