"""`python -m eval etbench` scores answers to E.T. Bench, or a model that sees its videos.

E.T. Bench asks about a whole video: nothing follows the question, and all frames may be seen.
"""

import json
import math
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from encoders.sentence_encoder import SentenceEncoder
from eval.etbench.files import PublishedData, join, read_predictions, read_samples, read_subset
from eval.etbench.grounding import sought_in
from eval.etbench.sample import CHOICE_TASKS, Prediction, Sample, SampleKey
from eval.etbench.scores import MERGED, OVERALL, Scores, score
from eval.etbench.sentence_likeness import SentenceLikeness
from eval.play.options import Convention, PlayOptions, play_command
from eval.play.played_run import chosen, play_run
from eval.play.plays import Prompt, TimeSpan, VideoQuestion
from eval.play.records import Records
from eval.result_table import NOTHING, ResultTable, show, show_document
from eval.run.report import write_report
from eval.run.run_directory import write_whole
from eval.run.scored import Scored, write_scored
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
    """Show merged and overall numbers in percent, the sources, and the unanswered count."""
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


NAME = "etbench"
CONVENTION = Convention(max_tokens=1024, sample_fps=1.0)
_FIGURES: dict[str, str] = {task: name for task, name in OVERALL.values() if name != "SentSim"}


def play_samples(
    data: PublishedData, subset: Collection[SampleKey] | None, options: PlayOptions
) -> tuple[Records, list[Sample]]:
    """Return the run and the samples it asked. Raises SettingsError for what is missing."""
    samples = [one for one in data.samples() if subset is None or one.key in subset]
    wanted = chosen(samples, options)
    return play_run(NAME, asked_of(wanted, data), options, CONVENTION), wanted


def evaluate_played(
    data: PublishedData, run: Records, samples: Sequence[Sample], likeness: SentenceLikeness
) -> dict[str, Scores]:
    """Return scores by policy; write the run's records, report and official scorer's files."""
    found, records = {}, []
    for policy, answers in run.answers.items():
        given = [  # answers to what was asked, None for a failed one
            Prediction(task=one.task, source=one.source, idx=one.idx, a=answers[name]["texts"][0])
            for one in samples
            if (name := str(one.key)) in answers
        ]
        answered, unanswered = join(samples, given, None)
        found[policy] = score(answered, likeness, len(unanswered))
        _write_official(run.directory / f"{policy}.predictions.json", data, answers)
        for one in answered:
            sample, answer = one
            figures = score([one], likeness).by_task_source
            records.append(
                Scored(
                    question_id=str(sample.key),
                    video=sample.video,
                    policy=policy,
                    task=sample.task,
                    question=sample.q,
                    given=answer or "",
                    truth=_truth(sample),
                    score=float(figures[sample.task][sample.source][_FIGURES[sample.task]] or 0.0),
                    asked_s=sample.duration,
                    first_token_ms=answers[str(sample.key)]["said"][0]["first_token_ms"],
                )
            )
    write_scored(run.directory, records)
    write_report(run.directory)
    return found


def _write_official(
    path: Path, data: PublishedData, answers: Mapping[str, Mapping[str, Any]]
) -> None:
    """Write the annotated entries with the answer `a` in each, as `--score-only` reads them."""
    entries = []
    for entry in data.entries():
        key = str(SampleKey(entry["task"], entry["source"], entry["idx"]))
        if key in answers:
            entries.append({**entry, "a": answers[key]["texts"][0]})
    write_whole(path, json.dumps(entries, indent=1) + "\n")


def _truth(sample: Sample) -> str:
    parts = [sample.option_texts[sample.p]] if sample.p is not None else []
    if sample.task in CHOICE_TASKS:
        return parts[0]
    spans = [f"{start:g} - {end:g}" for start, end in sample.tgt]
    captions = [f"{span}, {text}" for span, text in zip(spans, sample.g, strict=False)]
    return "; ".join([*parts, *(captions or spans)])


def asked_of(samples: Sequence[Sample], data: PublishedData) -> list[VideoQuestion]:
    """Return questions in the samples' order. Raises SettingsError if a video is missing."""
    data.require_videos(samples)
    asked = []
    for sample in samples:
        video = data.video(sample)
        assert video is not None
        span = TimeSpan(0.0, sample.duration or math.inf)  # without a duration: the whole file
        prompt, sought = prompt_of(sample), sought_in(sample)
        asked.append(VideoQuestion(str(sample.key), video, (span,), prompt, sought=sought))
    return asked


def prompt_of(sample: Sample) -> Prompt:
    """Return the published prompt; `answer_start` is how the official inference starts answers."""
    if "<vid>" in sample.q:
        raise SettingsError(
            f"{sample.key} has `<vid>` for its times: give the annotations with times as text "
            "(etbench_txt_v1.0.json)"
        )
    return Prompt(sample.q, answer_start="Best Option: (" if sample.task in CHOICE_TASKS else "")
