"""/v1/watches, the name of /v1/alerts before 0.3: it works until then and names its successor."""

from typing import Literal

from fastapi import APIRouter, Depends, Response
from pydantic import BaseModel

from app.server import alert_routes
from app.server.access import CallerHere, ServiceHere
from app.server.alert_routes import AlertChange, AlertRequest
from app.server.documents import AlertDocument, Deleted

_SINCE = "@1796083200"  # RFC 9745: seconds since the epoch, 2026-12-01


def _name_the_new_one(response: Response) -> None:
    response.headers["Deprecation"] = _SINCE
    response.headers["Link"] = '</v1/alerts>; rel="successor-version"'


router = APIRouter(
    prefix="/v1/watches",
    tags=["watches"],
    include_in_schema=False,
    dependencies=[Depends(_name_the_new_one)],
)


class WatchDocument(AlertDocument):
    """An alert under its name before 0.3."""

    object: Literal["watch"] = "watch"  # type: ignore[assignment]


class WatchList(BaseModel):
    object: str = "list"
    data: list[WatchDocument]


class WatchRequest(AlertRequest):
    """An alert to create, with events under the old name."""

    told_as: Literal["alert", "watch"] = "watch"


@router.post("", status_code=201, summary="Create an alert")
def create(service: ServiceHere, caller: CallerHere, wanted: WatchRequest) -> WatchDocument:
    """The name of POST /v1/alerts before 0.3."""
    return _watch(alert_routes.create(service, caller, wanted))


@router.get("", summary="List alerts")
def all_watches(service: ServiceHere, caller: CallerHere) -> WatchList:
    """The name of GET /v1/alerts before 0.3."""
    found = alert_routes.all_alerts(service, caller).data
    return WatchList(data=[_watch(one) for one in found])


@router.get("/{watch_id}", summary="Get an alert")
def one(service: ServiceHere, caller: CallerHere, watch_id: str) -> WatchDocument:
    """The name of GET /v1/alerts/{alert_id} before 0.3."""
    return _watch(alert_routes.one(service, caller, watch_id))


@router.patch("/{watch_id}", summary="Change an alert")
def change(
    service: ServiceHere, caller: CallerHere, watch_id: str, wanted: AlertChange
) -> WatchDocument:
    """The name of PATCH /v1/alerts/{alert_id} before 0.3."""
    return _watch(alert_routes.change(service, caller, watch_id, wanted))


@router.delete("/{watch_id}", summary="Delete an alert")
def delete(service: ServiceHere, caller: CallerHere, watch_id: str) -> Deleted:
    """The name of DELETE /v1/alerts/{alert_id} before 0.3."""
    return Deleted(id=alert_routes.delete(service, caller, watch_id).id, object="watch")


def _watch(alert: AlertDocument) -> WatchDocument:
    return WatchDocument.model_validate(alert.model_dump(exclude={"object"}))
