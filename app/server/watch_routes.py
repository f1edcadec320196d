"""Watches over HTTP: standing questions set, listed, looked at and deleted."""

from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, Field

from app.server.access import CallerHere, ServiceHere, require
from app.server.api_errors import ApiError
from app.server.documents import Deleted, WatchDocument, watch_document
from app.server.keys import Action, Caller
from vstream.service.watches import WatchRecord, WatchSpec
from vstream.service.webhook_delivery import check_receiver, new_secret
from vstream.times.when import parse_when

router = APIRouter(prefix="/v1/watches", tags=["watches"])


class WatchRequest(WatchSpec):
    """A standing question; `until` may be written as any other time."""

    until: str | float | None = Field(  # type: ignore[assignment]
        None, description="RFC 3339 or seconds since the epoch: it ends then."
    )


class WatchList(BaseModel):
    object: str = "list"
    data: list[WatchDocument]


@router.post("", status_code=201, summary="Create a watch")
def create(service: ServiceHere, caller: CallerHere, wanted: WatchRequest) -> WatchDocument:
    """Be told when something is the case: by /v1/events, and by a webhook if one is given."""
    for stream_id in wanted.stream_ids:
        require(caller, Action.MANAGE, stream_id)
    given: dict[str, Any] = wanted.model_dump()
    given["until"] = _until(wanted.until)
    made_up = None
    for action in given["actions"]:
        if action["secret"] is None:
            action["secret"] = made_up = made_up or new_secret()
        check_receiver(action["url"], action["secret"], service.policy.allow_private)
    record = service.loaded.watches.add(WatchSpec.model_validate(given), caller.name)
    return watch_document(record, secret=made_up)


@router.get("", summary="List watches")
def all_watches(service: ServiceHere, caller: CallerHere) -> WatchList:
    """Those on streams that this key may see."""
    seen = [record for record in service.loaded.watches.all() if _sees(caller, record)]
    return WatchList(data=[watch_document(record) for record in seen])


@router.get("/{watch_id}", summary="Get a watch")
def one(service: ServiceHere, caller: CallerHere, watch_id: str) -> WatchDocument:
    """A watch, and what has come of it."""
    return watch_document(_seen(service, caller, watch_id))


@router.delete("/{watch_id}", summary="Delete a watch")
def delete(service: ServiceHere, caller: CallerHere, watch_id: str) -> Deleted:
    """Watch for it no more."""
    record = _seen(service, caller, watch_id)
    for stream_id in record.spec.stream_ids:
        require(caller, Action.MANAGE, stream_id)
    service.loaded.watches.remove(watch_id)
    return Deleted(id=watch_id, object="watch")


def _seen(service: ServiceHere, caller: Caller, watch_id: str) -> WatchRecord:
    record = service.loaded.watches.get(watch_id)
    if not _sees(caller, record):
        raise ApiError(404, f"there is no watch {watch_id}", "watch_not_found")
    return record


def _sees(caller: Caller, record: WatchRecord) -> bool:
    return all(caller.may(Action.READ, stream_id) for stream_id in record.spec.stream_ids)


def _until(wanted: str | float | None) -> float | None:
    now = datetime.now(UTC)
    moment = parse_when(None if wanted is None else str(wanted), now)
    if moment is None:
        return None
    if moment <= now:
        raise ApiError(400, "until is in the past", "invalid_value", param="until")
    return moment.timestamp()
