"""/v1/firings: the firings of all alerts, newest first, and which were seen."""

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field, model_validator

from app.server.access import CallerHere, ServiceHere
from app.server.documents import FiringList, Marked, firing_document
from app.server.keys import Action

router = APIRouter(prefix="/v1/firings", tags=["firings"])


class SeenFirings(BaseModel):
    """Firings by id, or all up to one."""

    model_config = ConfigDict(strict=True)

    ids: list[int] = Field([], max_length=1000)
    up_to: int | None = Field(None, description="Mark this firing and all before it.")

    @model_validator(mode="after")
    def _one_way(self) -> "SeenFirings":
        if bool(self.ids) is (self.up_to is not None):
            raise ValueError("give either ids or up_to")
        return self


@router.get("", summary="List firings")
def newest(
    service: ServiceHere,
    caller: CallerHere,
    before: Annotated[int | None, Query(description="List only firings before this id.")] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    unseen: Annotated[bool, Query(description="List only firings that nobody has seen.")] = False,
    stream_id: Annotated[str | None, Query(max_length=128)] = None,
    alert_id: Annotated[str | None, Query(max_length=128)] = None,
) -> FiringList:
    """Return the firings of all alerts on streams that this key may see, newest first."""
    may_see = [
        (record, one)
        for record in service.loaded.alerts.all()
        for one in record.firings.copy()
        if caller.may(Action.READ, one.stream_id)
    ]
    wanted = [
        (record, one)
        for record, one in may_see
        if (before is None or one.id < before)
        and not (unseen and one.is_seen)
        and stream_id in (None, one.stream_id)
        and alert_id in (None, record.id)
    ]
    wanted.sort(key=lambda pair: pair[1].id, reverse=True)
    return FiringList(
        data=[firing_document(record, one) for record, one in wanted[:limit]],
        has_more=len(wanted) > limit,
        unseen=sum(not one.is_seen for _, one in may_see),
    )


@router.post("/seen", summary="Mark firings as seen")
def see(service: ServiceHere, caller: CallerHere, seen: SeenFirings) -> Marked:
    """The mark holds for everyone who may see the stream, and survives a restart."""
    ids = set(seen.ids)
    marked = service.loaded.alerts.see(
        lambda one: (
            caller.may(Action.READ, one.stream_id)
            and (one.id in ids if seen.up_to is None else one.id <= seen.up_to)
        )
    )
    return Marked(marked=marked, unseen=newest(service, caller).unseen)
