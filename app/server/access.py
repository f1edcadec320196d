"""Access: a request in, its caller out, or a refusal; what one may do to which stream."""

import secrets
from typing import Annotated

from fastapi import Depends, Request, Security
from fastapi.security import HTTPBearer
from starlette.requests import HTTPConnection

from app.server.api_errors import ApiError, no_key
from app.server.keys import PAGE_TOKEN, Action, Caller
from app.server.service import Service

_bearer = HTTPBearer(auto_error=False, description="VSTREAM_API_KEY, or a key of limited use.")


# What follows takes no time, and would take a thread from others if it were not async.


async def service_of(connection: HTTPConnection) -> Service:
    """The one service of this process."""
    service: Service = connection.app.state.service
    return service


ServiceHere = Annotated[Service, Depends(service_of)]


async def caller_of(
    connection: HTTPConnection,
    service: ServiceHere,
    _: Annotated[object, Security(_bearer)] = None,
) -> Caller:
    """Who this is. Raises ApiError without a good key."""
    caller = service.keys.check(connection.headers.get("authorization"))
    if caller is None:
        raise no_key()
    return caller


CallerHere = Annotated[Caller, Depends(caller_of)]


async def limited(request: Request, service: ServiceHere, caller: CallerHere) -> None:
    """Count a request, unless whoever hands it to one of many services has. Raises ApiError for one
    too many. The page's own do not: all its visitors are one caller, and they wait for each other
    there.
    """
    if service.is_one_of_many:
        return
    token = request.headers.get(PAGE_TOKEN, "")
    if secrets.compare_digest(token.encode(), service.page_token.encode()):
        return
    if wait_s := service.rate_limit.wait_s(caller.name):
        headers = {"Retry-After": str(max(1, round(wait_s)))}
        raise ApiError(429, "too many requests: wait a little", "rate_limited", headers=headers)


def require(caller: Caller, action: Action, stream_id: str | None) -> None:
    """Raises ApiError: of a stream that a caller may not even see, as if there were none."""
    if caller.may(action, stream_id):
        return
    if stream_id is not None and not caller.may(Action.READ, stream_id):
        raise ApiError(404, f"there is no stream {stream_id}", "stream_not_found")
    raise ApiError(403, f"this key may not {action.value} here", "not_permitted")
