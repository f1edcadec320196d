"""/v1/answers: what was asked and answered, where that is written down."""

from itertools import islice
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from app.server.access import CallerHere, ServiceHere
from app.server.keys import Action
from vstream.service.answer_log import Entry

router = APIRouter(prefix="/v1/answers", tags=["answers"])
Span = tuple[float, float]


class LoggedAnswer(BaseModel):
    """Times that end in `_s` are stream time, `at` is seconds since the epoch."""

    id: int = Field(description="The later, the higher.")
    at: float
    stream_id: str
    question: str
    answer: str
    at_s: float = Field(description="The moment that it is about.")
    evidence: list[Span] = Field(description="From and to, of each moment that was read.")
    spans: list[Span] = Field(description="Where its words looked.")
    model: str
    confidence: float
    unsure: bool
    unsure_because: str | None
    ttft_ms: float
    total_ms: float


class LoggedAnswers(BaseModel):
    object: str = "list"
    data: list[LoggedAnswer]
    has_more: bool = Field(description="Ask for what is `before` the last one.")
    is_logged: bool = Field(description="Whether answers are written down at all.")


@router.get("", summary="List logged answers")
def logged(
    service: ServiceHere,
    caller: CallerHere,
    before: Annotated[int | None, Query(description="The id of an answer.")] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    stream_id: Annotated[str | None, Query(max_length=128)] = None,
) -> LoggedAnswers:
    """Newest first, about streams that this key may manage; none unless `service.answer_log` is
    set.
    """
    log = service.answer_log
    if log is None:
        return LoggedAnswers(data=[], has_more=False, is_logged=False)

    def is_wanted(entry: Entry) -> bool:
        of = entry["stream_id"]
        is_later = before is not None and entry["id"] >= before
        return not is_later and stream_id in (None, of) and caller.may(Action.MANAGE, of)

    found = [LoggedAnswer.model_validate(one) for one in islice(log.newest(is_wanted), limit + 1)]
    return LoggedAnswers(data=found[:limit], has_more=len(found) > limit, is_logged=True)
