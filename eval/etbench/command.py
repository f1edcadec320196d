"""`python -m eval etbench`: answers to E.T. Bench, or a model, in; tables and a document out."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from encoders.sentence_encoder import SentenceEncoder
from eval.etbench.files import join, read_predictions, read_samples, read_subset
from eval.etbench.played import evaluate_played, play_samples
from eval.etbench.published_data import PublishedData
from eval.etbench.report import document, tables
from eval.etbench.scores import Scores, score
from eval.etbench.sentence_likeness import SentenceLikeness
from eval.play import command_options
from eval.play.options import PlayOptions, out_of
from memory import KVMemoryError
from vstream import SettingsError, VStreamError


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
    """E.T. Bench: the published score of a file of answers, or of a model that sees the videos."""
    try:
        if score_only:
            found = _score(annotations, predictions, subset)
            _show({"": found}, document(found), as_json)
        elif data is None:
            raise SettingsError("give --score-only with answers, or --data with --model to play")
        elif model is None:
            _check(PublishedData(data))
        else:
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
            _play(PublishedData(data), subset, options, as_json)
    except (VStreamError, KVMemoryError) as error:
        raise typer.BadParameter(str(error)) from error


def _play(data: PublishedData, subset: Path | None, options: PlayOptions, as_json: bool) -> None:
    keys = None if subset is None else read_subset(subset)
    run, samples = play_samples(data, keys, options)
    found = evaluate_played(data, run, samples, SentenceLikeness(SentenceEncoder()))
    by_policy = {policy: document(scores) for policy, scores in found.items()}
    whole = {"run": str(run.directory), "failed": run.failures, "policies": by_policy}
    _show(found, whole, as_json)
    sys.stderr.write(f"{run.summary}\n")


def _show(found: dict[str, Scores], whole: dict[str, Any], as_json: bool) -> None:
    for policy, scores in found.items():
        if policy:
            Console().rule(policy)
        Console().print(tables(scores))
    if as_json:
        sys.stdout.write(f"{json.dumps(whole, allow_nan=False)}\n")


def _score(annotations: Path | None, predictions: Path | None, subset: Path | None) -> Scores:
    if annotations is None or predictions is None:
        raise SettingsError("--score-only needs --annotations and --predictions")
    answered, unanswered = join(
        read_samples(annotations),
        read_predictions(predictions),
        None if subset is None else read_subset(subset),
    )
    return score(answered, SentenceLikeness(SentenceEncoder()), len(unanswered))


def _check(data: PublishedData) -> None:
    samples = data.samples()
    data.subset()
    data.require_videos(samples)
    videos = len({sample.video for sample in samples})
    Console().print(f"{len(samples)} samples over {videos} videos, all there")
