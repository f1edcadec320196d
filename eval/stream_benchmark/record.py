"""Record: a scored question of the stream world, with what only this benchmark knows of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from eval.run.scored import Scored
from eval.stream_benchmark.citations import Citation, citations_of
from eval.stream_benchmark.exam import ExamQuestion, ExamStream
from eval.stream_world import score_question

PRESENT_GROUP, PAST_GROUP, NEVER_GROUP = "present", "past", "never so"
NEW_WORDING, NEW_STYLE = "held-out wording", "held-out style"


@dataclass(frozen=True)
class Record:
    """`form`: that of a timed question; `recall` (by layer) and `held`: None without evidence."""

    scored: Scored
    is_needle: bool = False
    is_exact: bool = False
    recall: tuple[float, ...] | None = None
    held: float | None = None
    form: str = ""
    citations: Mapping[str, Citation] = field(default_factory=dict)


def question_id(stream: ExamStream, number: int) -> str:
    """Return an id that is the same under every contender of every run."""
    return f"{stream.name}/{number}"


def record_of(
    contender: str, stream: ExamStream, number: int, text: str | None, said: Mapping[str, Any]
) -> Record:
    """Score what was said (see `GivenAnswer`); no text is wrong, the present has no age."""
    drawn = stream.questions[number]
    question, given = drawn.question, text or ""
    found = score_question(question, given)
    scored = Scored(
        question_id=question_id(stream, number),
        video=stream.name,
        policy=contender,
        task=question.kind,
        question=question.text,
        given=given,
        truth=question.answer,
        score=float(found.is_right),
        asked_s=question.asked_s,
        evidence_age_s=question.evidence_age_s if question.is_about_past else None,
        first_token_ms=said.get("first_token_ms"),
        group=_group(stream, drawn),
    )
    recall = said.get("recall")
    recalls = None if recall is None else tuple(recall)
    held = said.get("held")
    cited = citations_of(said, question.evidence)
    return Record(scored, question.is_needle, found.is_exact, recalls, held, question.form, cited)


def _group(stream: ExamStream, drawn: ExamQuestion) -> str:
    """Separate ordinary questions from those held out in one way or the other."""
    if stream.style == "held_out":
        return NEW_STYLE
    if drawn.wording == "held_out":
        return NEW_WORDING
    if drawn.question.is_never_so:
        return NEVER_GROUP
    return PAST_GROUP if drawn.question.is_about_past else PRESENT_GROUP
