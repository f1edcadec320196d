"""`python -m eval questions` plays a published question set, or scores a finished run's answers."""

import json
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from eval.clustered_error import Estimate
from eval.play.options import PlayOptions, play_command
from eval.play.played_run import chosen, play_run
from eval.play.plays import VideoQuestion
from eval.play.records import Records
from eval.question_sets.benchmark import Benchmark
from eval.question_sets.data_files import read_predictions, require_videos
from eval.question_sets.items import Outcome, SetItem
from eval.question_sets.scored_run import NAMES, Judges, ScoredRun, make_benchmark, score_run
from eval.question_sets.vstream_qa import SUBSETS
from eval.result_table import NOTHING, ResultTable, percent_cell, show, show_document
from eval.run.report import write_report
from eval.run.scored import Scored, write_scored
from vstream import SettingsError

_SHOWN = (
    *("questions", "answered", "predictions_without_question", "awkward"),
    *("judge", "second_judge", "agreement"),
)


@play_command
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
    as_json: Annotated[bool, typer.Option("--json", help="End with one JSON document.")] = False,
    play: PlayOptions | None = None,
) -> None:
    """Play a published question set's videos and ask a model, or score a finished run's answers.
    With --items alone, write down what a run is to be asked.
    """
    judges = Judges(judge, judge_url, judge_key, second_judge, sample, judgements)
    if (predictions is None and items is None) == (play is None):
        raise SettingsError(
            "give --predictions to score a run, --items to write it out, or --model to play it"
        )
    asked = make_benchmark(benchmark)
    loaded = asked.load(data, task or ())
    if play is not None:
        document = _play(benchmark, play_set(benchmark, asked, loaded, data, play), judges)
    else:
        if items is not None:
            _write_items(items, asked, loaded)
            try:
                require_videos(data, loaded, asked.published)
            except SettingsError as error:
                sys.stderr.write(f"warning: {error}\n")
        if predictions is None:
            return
        answers = read_predictions(predictions)
        scored = score_run(benchmark, loaded, answers, judges, predictions)
        document = scored.document
        _show(benchmark, scored)
    if as_json:
        show_document(document)


def _play(
    name: str, played: tuple[Records, Sequence[SetItem]], judges: Judges
) -> dict[str, object]:
    """Score each policy of a run that has been played, if there is a judge when one is needed."""
    run, items = played
    document: dict[str, object] = {"run": str(run.directory), "failed": run.failures}
    if name in SUBSETS and judges.first is None:
        sys.stderr.write(
            "not scored: the answers are open; name a --judge, here again or with --predictions "
            f"{', '.join(map(str, run.paths.values()))}\n"
        )
    else:
        outcomes: dict[str, Sequence[Outcome]] = {}
        documents: dict[str, object] = {}
        for policy, answers in run.answers.items():
            texts = {id_: tuple(kept["texts"]) for id_, kept in answers.items()}
            scored = score_run(name, items, texts, judges, run.paths[policy])
            _show(f"{name}, {policy}", scored)
            outcomes[policy], documents[policy] = scored.outcomes, scored.document
        write_records(run, outcomes)
        document["policies"] = documents
    sys.stderr.write(f"{run.summary}\n")
    return document


def _show(title: str, run: ScoredRun) -> None:
    rows = {}
    for row in run.rows:
        counted = row.published or row.strict
        rows[row.name] = {
            "unit": row.unit,
            "published": _cell(row.published),
            "strict": _cell(row.strict),
            "questions": counted.num_questions if counted else NOTHING,
        }
    table = ResultTable.of(f"{title}: mean ± standard error, clustered by video", rows)
    named = [name for name in _SHOWN if name in run.document]
    show([table], *(f"{name.replace('_', ' ')}: {run.document[name]}" for name in named))


def _cell(found: Estimate | None) -> str:
    return percent_cell(found.mean, found.stderr, digits=2) if found else NOTHING


def _write_items(path: Path, benchmark: Benchmark, items: Sequence[SetItem]) -> None:
    """Write what a run needs, and no truth except what the published prompt itself reveals."""
    with path.open("w", encoding="utf-8") as file:
        for item in items:
            follow_up = benchmark.follow_up(item, "yes")
            ends = [None if math.isinf(span.end_s) else span.end_s for span in item.spans]
            document = {
                "id": item.id,
                "video": item.video,
                "task": item.task,
                "spans_s": [[item.seen_from_s, end_s] for end_s in ends],
                "prompt": asdict(benchmark.prompt(item)),
                "prompt_after_yes": None if follow_up is None else asdict(follow_up),
            }
            file.write(json.dumps(document, allow_nan=False) + "\n")


def asked_of(benchmark: Benchmark, items: Sequence[SetItem], data_dir: Path) -> list[VideoQuestion]:
    """Return what a run asks of each video, and when; in the order of the items."""
    asked = []
    for item in items:
        prompt, follow_up = benchmark.prompt(item), partial(benchmark.follow_up, item)
        asked.append(VideoQuestion(item.id, data_dir / item.video, item.spans, prompt, follow_up))
    return asked


def play_set(
    name: str, benchmark: Benchmark, items: Sequence[SetItem], data: Path, options: PlayOptions
) -> tuple[Records, list[SetItem]]:
    """Return the run and the items it asked. Raises SettingsError naming missing videos."""
    wanted = chosen(items, options)
    require_videos(data, wanted, benchmark.published)
    questions = asked_of(benchmark, wanted, data)
    return play_run(name, questions, options, benchmark.convention), wanted


def write_records(run: Records, outcomes: Mapping[str, Sequence[Outcome]]) -> None:
    """Write records and report. `outcomes`: by policy; keeps the strict score, which all have."""
    scored = [
        _scored(policy, outcome, answers[outcome.item.id])
        for policy, answers in run.answers.items()
        for outcome in outcomes[policy]
        if outcome.item.id in answers
    ]
    write_scored(run.directory, scored)
    write_report(run.directory)


def _scored(policy: str, outcome: Outcome, document: Mapping[str, Any]) -> Scored:
    item = outcome.item
    return Scored(
        question_id=item.id,
        video=item.video_id,
        policy=policy,
        task=item.task,
        question=item.question,
        given=" | ".join(text or "" for text in document["texts"]),
        truth=item.answer,
        score=outcome.strict,
        asked_s=None if math.isinf(item.asked_s) else item.asked_s,
        first_token_ms=document["said"][0]["first_token_ms"],
        group=item.group,
    )
