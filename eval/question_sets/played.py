"""A question set and options in: its videos played; a played run's answers as scorers read them."""

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from eval.play.options import PlayOptions
from eval.play.played_run import PlayedRun, chosen, play_run
from eval.question_sets.asked import asked_of, convention_of
from eval.question_sets.benchmark import Benchmark, Item, Outcome, Texts
from eval.question_sets.data_files import require_videos
from eval.run.report import write_report
from eval.run.scored import Scored, write_scored


def play_set(
    name: str, benchmark: Benchmark, items: Sequence[Item], data: Path, options: PlayOptions
) -> tuple[PlayedRun, list[Item]]:
    """The run, and those of the items that it was to ask.

    Raises SettingsError that names the videos that are missing for them.
    """
    wanted = chosen(items, options)
    require_videos(data, wanted, benchmark.published)
    asked = asked_of(benchmark, wanted, data)
    return play_run(name, asked, options, convention_of(name)), wanted


def texts_of(run: PlayedRun, policy: str) -> dict[str, Texts]:
    """The texts of each item by its id."""
    return {name: tuple(document["texts"]) for name, document in run.answers[policy].items()}


def write_records(run: PlayedRun, outcomes: Mapping[str, Sequence[Outcome]]) -> None:
    """And the report. `outcomes` by policy; the strict score is kept: every question has one."""
    write_scored(
        run.directory,
        [
            scored
            for policy, several in outcomes.items()
            for scored in _scored(policy, several, run.answers[policy])
        ],
    )
    write_report(run.directory)


def _scored(
    policy: str, outcomes: Sequence[Outcome], answers: Mapping[str, Mapping[str, Any]]
) -> Iterator[Scored]:
    for outcome in outcomes:
        item = outcome.item
        document = answers.get(item.id)
        if document is None:
            continue
        said = document["said"]
        yield Scored(
            question_id=item.id,
            video=item.video_id,
            policy=policy,
            task=item.task,
            question=item.question,
            given=" | ".join(text or "" for text in document["texts"]),
            truth=item.answer,
            score=outcome.strict,
            asked_s=None if math.isinf(item.asked_s) else item.asked_s,
            first_token_ms=said[0]["first_token_ms"],
            group=item.group,
        )
