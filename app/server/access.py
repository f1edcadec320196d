"""Access: identify the caller of a request, and check what it may do."""

import secrets
from typing import Annotated

from fastapi import Depends, Request, Security
from fastapi.security import HTTPBearer
from starlette.requests import HTTPConnection

from app.server.api_errors import ApiError, no_key
from app.server.keys import PAGE_TOKEN, Action, Caller
from app.server.service import Service

_bearer = HTTPBearer(auto_error=False, description="VSTREAM_API_KEY or a scoped key.")


# These are quick; async keeps FastAPI from spending a thread on each.


async def service_of(connection: HTTPConnection) -> Service:
    service: Service = connection.app.state.service
    return service


ServiceHere = Annotated[Service, Depends(service_of)]


async def caller_of(
    connection: HTTPConnection,
    service: ServiceHere,
    _: Annotated[object, Security(_bearer)] = None,
) -> Caller:
    """Identify the caller by its key. Raises ApiError without a valid one."""
    caller = service.keys.check(connection.headers.get("authorization"))
    if caller is None:
        raise no_key()
    return caller


CallerHere = Annotated[Caller, Depends(caller_of)]


async def limited(request: Request, service: ServiceHere, caller: CallerHere) -> None:
    """Count a request; of many services that are one the ingress has. Raises ApiError if the caller
    sends too many. The page is exempt: all its visitors are one caller, and the page queues their
    requests itself.
    """
    if service.is_one_of_many:
        return
    token = request.headers.get(PAGE_TOKEN, "")
    if secrets.compare_digest(token.encode(), service.page_token.encode()):
        return
    if wait_s := service.rate_limit.wait_s(caller.name):
        headers = {"Retry-After": str(max(1, round(wait_s)))}
        raise ApiError(429, "too many requests: slow down", "rate_limited", headers=headers)


def require(caller: Caller, action: Action, stream_id: str | None) -> None:
    """Raises ApiError if the caller may not; 404 if it may not even see the stream."""
    if caller.may(action, stream_id):
        return
    if stream_id is not None and not caller.may(Action.READ, stream_id):
        raise ApiError(404, f"there is no stream {stream_id}", "stream_not_found")
    raise ApiError(403, f"this key may not {action.value} here", "not_permitted")
