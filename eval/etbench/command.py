"""`python -m eval etbench`: answers to E.T. Bench in, tables and a JSON document on stdout out."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from eval.etbench.evaluation import Evaluation, evaluate
from eval.etbench.files import join, read_predictions, read_samples, read_subset
from eval.etbench.published_data import PublishedData
from eval.etbench.report import document, tables
from eval.etbench.sentence_likeness import SentenceLikeness
from eval.sentence_encoder import SentenceEncoder
from vstream import SettingsError


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
        Path | None, typer.Option(help="The published folder: say what is missing in it.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="End with one JSON document.")] = False,
) -> None:
    """E.T. Bench: the published score of a file of answers, and a strict one beside it."""
    try:
        if score_only:
            found = _score(annotations, predictions, subset)
        elif data is not None:
            _check(PublishedData(data))
            return
        else:
            raise SettingsError("give --score-only with answers, or --data to check a folder")
    except SettingsError as error:
        raise typer.BadParameter(str(error)) from error
    Console().print(tables(found))
    if as_json:
        sys.stdout.write(f"{json.dumps(document(found), allow_nan=False)}\n")


def _score(annotations: Path | None, predictions: Path | None, subset: Path | None) -> Evaluation:
    if annotations is None or predictions is None:
        raise SettingsError("--score-only needs --annotations and --predictions")
    answered, unanswered = join(
        read_samples(annotations),
        read_predictions(predictions),
        None if subset is None else read_subset(subset),
    )
    return evaluate(answered, unanswered, SentenceLikeness(SentenceEncoder()))


def _check(data: PublishedData) -> None:
    samples = data.samples()
    data.subset()
    data.require_videos(samples)
    videos = len({sample.video for sample in samples})
    Console().print(f"{len(samples)} samples over {videos} videos, all there")
