"""Scored: a question with one policy's answer and score, as reports and `compare` read it.

A benchmark keeps its own records, from which a killed run resumes; at its end, and whenever it has
something to report, it scores them and writes `scored.jsonl` whole.
"""

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from eval.run.run_directory import read_lines, write_lines

FILE = "scored.jsonl"
AGES_S = {"<1min": 60.0, "1-10min": 600.0, "10-60min": 3600.0, "1-6h": 21600.0, ">6h": math.inf}
"""Evidence of an age is younger than this many seconds, and older than the age before."""


@dataclass(frozen=True)
class Scored:
    """One question under one policy. A question has the same id under every policy of every run.

    Standard errors are clustered by `video`. `group` is the part of the benchmark that the task
    belongs to, "" if none. `score` is from 0 to 1: a share for tasks that give one, else right or
    wrong. `asked_s` is None for a question at the video's end. `evidence_age_s` is how long before
    the question its oldest evidence began; None if that is unknown, or for questions about the
    present.
    """

    question_id: str
    video: str
    policy: str
    task: str
    question: str
    given: str
    truth: str
    score: float
    asked_s: float | None
    evidence_age_s: float | None = None
    first_token_ms: float | None = None
    group: str = ""


def age_of(age_s: float | None) -> str | None:
    """Return the key of AGES_S; None without evidence."""
    return None if age_s is None else next(age for age, end_s in AGES_S.items() if age_s < end_s)


def write_scored(directory: Path, records: Iterable[Scored]) -> None:
    """Replace what was there with these, in order."""
    write_lines(directory / FILE, map(asdict, records))


def read_scored(directory: Path) -> list[Scored]:
    """Return everything the run has scored so far. Raises FileNotFoundError for what is no run."""
    return [Scored(**document) for document in read_lines(directory / FILE)]
