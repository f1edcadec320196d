"""Play the videos of a question set, and give the answers of the run to its scorer."""

import math
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from eval.play.asked import Asked
from eval.play.options import PlayOptions
from eval.play.played_run import PlayedRun, chosen, play_run
from eval.question_sets.benchmark import Benchmark
from eval.question_sets.data_files import require_videos
from eval.question_sets.items import Outcome, SetItem
from eval.run.report import write_report
from eval.run.scored import Scored, write_scored


def asked_of(benchmark: Benchmark, items: Sequence[SetItem], data_dir: Path) -> list[Asked]:
    """What a run asks of which video, and when; in the order of the items."""
    asked = []
    for item in items:
        prompt, follow_up = benchmark.prompt(item), partial(benchmark.follow_up, item)
        asked.append(Asked(item.id, data_dir / item.video, item.spans, prompt, follow_up))
    return asked


def play_set(
    name: str, benchmark: Benchmark, items: Sequence[SetItem], data: Path, options: PlayOptions
) -> tuple[PlayedRun, list[SetItem]]:
    """The run, and those of the items that it was to ask.

    Raises SettingsError that names the videos that are missing for them.
    """
    wanted = chosen(items, options)
    require_videos(data, wanted, benchmark.published)
    questions = asked_of(benchmark, wanted, data)
    return play_run(name, questions, options, benchmark.convention), wanted


def write_records(run: PlayedRun, outcomes: Mapping[str, Sequence[Outcome]]) -> None:
    """And the report. `outcomes` by policy; the strict score is kept: every question has one."""
    scored = [
        _scored(policy, outcome, run.answers[policy][outcome.item.id])
        for policy, several in outcomes.items()
        for outcome in several
        if outcome.item.id in run.answers[policy]
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
