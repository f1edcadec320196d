"""Record: a question, the answer that one policy gave and its score; one a line in a file."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from eval.stream_benchmark.exam import ExamStream, Style
from eval.stream_world import Split, score


@dataclass(frozen=True)
class Reply:
    """What a policy answered. `recall` is by layer; None without evidence or without blocks."""

    text: str
    ttft_ms: float | None = None
    recall: tuple[float, ...] | None = None


@dataclass(frozen=True)
class Record:
    """One question of a run, with all that the report groups it by."""

    stream: str
    style: Style
    wording: Split
    kind: str
    text: str
    truth: str
    given: str
    asked_s: int
    evidence_age_s: float | None
    is_needle: bool
    is_right: bool
    is_exact: bool
    ttft_ms: float | None
    recall: tuple[float, ...] | None

    @classmethod
    def of(cls, stream: ExamStream, number: int, reply: Reply) -> "Record":
        """The scored record of the stream's question `number`."""
        drawn = stream.questions[number]
        question = drawn.question
        scored = score(question.answer, reply.text, question.asked_s)
        return cls(
            stream=stream.name,
            style=stream.style,
            wording=drawn.wording,
            kind=question.kind,
            text=question.text,
            truth=question.answer,
            given=reply.text,
            asked_s=question.asked_s,
            evidence_age_s=question.evidence_age_s,
            is_needle=question.is_needle,
            is_right=scored.is_right,
            is_exact=scored.is_exact,
            ttft_ms=reply.ttft_ms,
            recall=reply.recall,
        )

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> "Record":
        """Scored anew: the rules may have changed since."""
        recall = document["recall"]
        scored = score(document["truth"], document["given"], document["asked_s"])
        return cls(
            **{
                **document,
                "recall": None if recall is None else tuple(recall),
                "is_right": scored.is_right,
                "is_exact": scored.is_exact,
            }
        )

    def to_json(self) -> dict[str, Any]:
        return asdict(self)
