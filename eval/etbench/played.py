"""E.T. Bench and options in: its videos played, the answers written in the official layout."""

import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from eval.etbench.asked import CONVENTION, asked_of, predictions_of
from eval.etbench.files import join
from eval.etbench.published_data import PublishedData
from eval.etbench.sample import Sample, SampleKey
from eval.etbench.scores import OVERALL, Scores, score
from eval.etbench.sentence_likeness import SentenceLikeness
from eval.play.options import PlayOptions
from eval.play.played_run import PlayedRun, chosen, play_run
from eval.run.record_file import write_whole
from eval.run.report import write_report
from eval.run.scored import Scored, write_scored

NAME = "etbench"
_FIGURES: dict[str, str] = {task: name for task, name in OVERALL.values() if name != "SentSim"}


def play_samples(
    data: PublishedData, subset: Collection[SampleKey] | None, options: PlayOptions
) -> tuple[PlayedRun, list[Sample]]:
    """The run, and the samples that it was to ask. Raises SettingsError for what is missing."""
    samples = [one for one in data.samples() if subset is None or one.key in subset]
    wanted = chosen(samples, options)
    return play_run(NAME, asked_of(wanted, data), options, CONVENTION), wanted


def evaluate_played(
    data: PublishedData, run: PlayedRun, samples: Sequence[Sample], likeness: SentenceLikeness
) -> dict[str, Scores]:
    """By policy; writes the run's records, its report and the files for the official scorer."""
    found, records = {}, []
    for policy, answers in run.answers.items():
        answered, unanswered = join(samples, predictions_of(samples, answers), None)
        found[policy] = score(answered, likeness, len(unanswered))
        _write_official(official_file(run, policy), data, answers)
        for one in answered:
            sample, answer = one
            figures = score([one], likeness).by_task_source
            said = answers[str(sample.key)]["said"][0]
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
                    first_token_ms=said["first_token_ms"],
                )
            )
    write_scored(run.directory, records)
    write_report(run.directory)
    return found


def official_file(run: PlayedRun, policy: str) -> Path:
    """The annotated entries with the answer `a` in each, as `--score-only` reads them, too."""
    return run.directory / f"{policy}.predictions.json"


def _write_official(
    path: Path, data: PublishedData, answers: Mapping[str, Mapping[str, Any]]
) -> None:
    entries = []
    for entry in data.entries():
        key = str(SampleKey(entry["task"], entry["source"], entry["idx"]))
        if key in answers:
            entries.append({**entry, "a": answers[key]["texts"][0]})
    write_whole(path, json.dumps(entries, indent=1) + "\n")


def _truth(sample: Sample) -> str:
    parts = [sample.option_texts[sample.p]] if sample.p is not None else []
    if sample.task in ("rar", "eca", "rvq"):
        return parts[0]
    spans = [f"{start:g} - {end:g}" for start, end in sample.tgt]
    captions = [f"{span}, {text}" for span, text in zip(spans, sample.g, strict=False)]
    return "; ".join([*parts, *(captions or spans)])
