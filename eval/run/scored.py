"""Scored is a question with one policy's answer and score, as reports and `compare` read it.

A benchmark keeps its own records, from which a killed run goes on; at its end, and whenever it has
something to report, it scores them and writes `scored.jsonl` anew and whole.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from eval.run.record_file import read_lines, write_lines

FILE = "scored.jsonl"


@dataclass(frozen=True)
class Scored:
    """One question under one policy. A question has the same id under every policy of every run.

    `video` is what standard errors are clustered by. `group` is the part of the benchmark that the
    task belongs to, "" where it has none. `score` is from 0 to 1: a share for tasks that give one,
    else right or wrong. `asked_s` is None where it is asked at the video's end. `evidence_age_s` is
    how long before the question its oldest evidence began; None where that is not known, or where
    it is asked about the present alone.
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


def write_scored(directory: Path, records: Iterable[Scored]) -> None:
    """Write them all, in their order, instead of what was there."""
    write_lines(directory / FILE, map(asdict, records))


def read_scored(directory: Path) -> list[Scored]:
    """All that the run has scored so far. Raises FileNotFoundError for what is no run."""
    return [Scored(**document) for document in read_lines(directory / FILE)]
