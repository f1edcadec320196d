"""/v1/answers: logged questions and answers."""

from itertools import islice
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from app.server.access import CallerHere, ServiceHere
from app.server.keys import Action
from vstream.service.answer_log import LoggedAnswer

router = APIRouter(prefix="/v1/answers", tags=["answers"])


class LoggedAnswers(BaseModel):
    object: str = "list"
    data: list[LoggedAnswer]
    has_more: bool = Field(description="For the next page, pass the last id as `before`.")
    is_logged: bool = Field(description="Whether the service logs answers at all.")


@router.get("", summary="List logged answers")
def logged(
    service: ServiceHere,
    caller: CallerHere,
    before: Annotated[int | None, Query(description="List only answers before this id.")] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    stream_id: Annotated[str | None, Query(max_length=128)] = None,
) -> LoggedAnswers:
    """Return answers about streams that this key may manage, newest first. The service logs none
    unless `service.answer_log` is set.
    """
    log = service.answer_log
    if log is None:
        return LoggedAnswers(data=[], has_more=False, is_logged=False)

    def is_wanted(one: LoggedAnswer) -> bool:
        is_earlier = before is None or one.id < before
        is_of = stream_id in (None, one.stream_id)
        return is_earlier and is_of and caller.may(Action.MANAGE, one.stream_id)

    found = list(islice(log.newest(is_wanted), limit + 1))
    return LoggedAnswers(data=found[:limit], has_more=len(found) > limit, is_logged=True)
