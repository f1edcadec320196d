"""/v1/alerts: create, list, get, change and delete alerts."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import BaseModel, Field, ValidationError

from app.server.access import CallerHere, ServiceHere, require
from app.server.api_errors import ApiError, invalid_value
from app.server.documents import AlertDocument, Deleted, alert_document
from app.server.keys import Action, Caller
from vstream.service.alert_record import AlertRecord
from vstream.service.alert_spec import ALL, AlertSpec
from vstream.service.webhook_delivery import check_receiver, new_secret
from vstream.times.when import parse_when

router = APIRouter(prefix="/v1/alerts", tags=["alerts"])


class AlertRequest(AlertSpec):
    """An alert to create; `until` takes any form of time."""

    until: str | float | None = Field(  # type: ignore[assignment]
        None, description="When the alert ends: RFC 3339 or seconds since the epoch."
    )


class AlertChange(AlertRequest):
    """Fields that are not given stay as they are."""

    stream_ids: tuple[Annotated[str, Field(max_length=128)], ...] | None = Field(  # type: ignore[assignment]
        None, min_length=1, max_length=64
    )
    condition: str | None = Field(  # type: ignore[assignment]
        None,
        min_length=1,
        max_length=1000,
        description="A new condition restarts the alert and deletes its firings.",
    )


class AlertList(BaseModel):
    object: str = "list"
    data: list[AlertDocument]


@router.post("", status_code=201, summary="Create an alert")
def create(service: ServiceHere, caller: CallerHere, wanted: AlertRequest) -> AlertDocument:
    """Report when a condition comes true, on /v1/events and through webhooks if given."""
    _require_manages(caller, wanted.stream_ids)
    spec, made_up = _spec(service, wanted.model_dump() | {"until": _until(wanted.until)})
    record = service.loaded.alerts.add(spec, caller.name)
    return alert_document(record, secret=made_up)


@router.get("", summary="List alerts")
def all_alerts(service: ServiceHere, caller: CallerHere) -> AlertList:
    """Return the alerts on streams that this key may see."""
    seen = [record for record in service.loaded.alerts.all() if _sees(caller, record)]
    return AlertList(data=[alert_document(record) for record in seen])


@router.get("/{alert_id}", summary="Get an alert")
def one(service: ServiceHere, caller: CallerHere, alert_id: str) -> AlertDocument:
    """Return an alert with its newest firings."""
    return alert_document(_seen(service, caller, alert_id))


@router.patch("/{alert_id}", summary="Change an alert")
def change(
    service: ServiceHere, caller: CallerHere, alert_id: str, wanted: AlertChange
) -> AlertDocument:
    """With the same condition, the alert keeps its firings."""
    record = _seen(service, caller, alert_id)
    was = record.spec
    given = was.model_dump() | wanted.model_dump(include=wanted.model_fields_set)
    if "until" in wanted.model_fields_set:
        given["until"] = _until(wanted.until)
    _require_manages(caller, {*was.stream_ids, *(given["stream_ids"] or ())})
    spec, made_up = _spec(service, given, {one.url: one.secret for one in was.actions})
    return alert_document(service.loaded.alerts.change(alert_id, spec), secret=made_up)


@router.delete("/{alert_id}", summary="Delete an alert")
def delete(service: ServiceHere, caller: CallerHere, alert_id: str) -> Deleted:
    """Also deletes the alert's firings."""
    record = _seen(service, caller, alert_id)
    _require_manages(caller, record.spec.stream_ids)
    service.loaded.alerts.remove(alert_id)
    return Deleted(id=alert_id, object="alert")


def _spec(
    service: ServiceHere, given: dict[str, Any], known: Mapping[str, str | None] | None = None
) -> tuple[AlertSpec, str | None]:
    """Make the spec, with a secret for each webhook: the one given, the one `known` for its URL, or
    a generated one, which is also returned. Raises ApiError; SettingsError for a URL that webhooks
    may not use.
    """
    made_up = None
    for action in given["actions"]:
        action["secret"] = action["secret"] or (known or {}).get(action["url"])
        if action["secret"] is None:
            action["secret"] = made_up = made_up or new_secret()
        check_receiver(action["url"], action["secret"], service.policy.allow_private)
    try:
        return AlertSpec.model_validate(given), made_up
    except ValidationError as error:
        raise invalid_value(error.errors()) from None


def _seen(service: ServiceHere, caller: Caller, alert_id: str) -> AlertRecord:
    record = service.loaded.alerts.get(alert_id)
    if not _sees(caller, record):
        raise ApiError(404, f"there is no alert {alert_id}", "alert_not_found")
    return record


def _sees(caller: Caller, record: AlertRecord) -> bool:
    return all(caller.may(Action.READ, one) for one in _none_for_all(record.spec.stream_ids))


def _require_manages(caller: Caller, stream_ids: Iterable[str]) -> None:
    for one in _none_for_all(stream_ids):
        require(caller, Action.MANAGE, one)


def _none_for_all(stream_ids: Iterable[str]) -> list[str | None]:
    """`*` needs a key for all streams."""
    return [None if one == ALL else one for one in stream_ids]


def _until(wanted: str | float | None) -> float | None:
    now = datetime.now(UTC)
    moment = parse_when(None if wanted is None else str(wanted), now)
    if moment is None:
        return None
    if moment <= now:
        raise ApiError(400, "until is in the past", "invalid_value", param="until")
    return moment.timestamp()
