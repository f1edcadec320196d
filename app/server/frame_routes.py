"""/v1/streams/ID/frames: JPEG frames that clients push, over HTTP and WebSocket."""

from datetime import UTC, datetime
from typing import Annotated, Any

from anyio import to_thread
from fastapi import APIRouter, Header, Request, WebSocket

from app.server.access import CallerHere, ServiceHere, caller_of, require
from app.server.api_errors import ApiError, api_error
from app.server.documents import Pushed
from app.server.frame_socket import take_frames
from app.server.keys import Action
from app.server.service import Service
from vstream.errors import VStreamError
from vstream.times.when import parse_when

router = APIRouter(prefix="/v1/streams", tags=["frames"])
"""Pushed frames do not count towards the limit on requests: there are too many of them."""

_JPEG: dict[str, Any] = {"image/jpeg": {"schema": {"type": "string", "format": "binary"}}}


@router.post(
    "/{stream_id}/frames",
    summary="Push a frame",
    openapi_extra={"requestBody": {"required": True, "content": _JPEG}},
)
async def push(
    service: ServiceHere,
    caller: CallerHere,
    request: Request,
    stream_id: str,
    x_capture_time: Annotated[
        str | None, Header(max_length=64, description="When it was captured; default now.")
    ] = None,
) -> Pushed:
    """Push the next frame of a stream of type `push`; the body is a JPEG."""
    require(caller, Action.PUSH, stream_id)
    kind = request.headers.get("content-type", "image/jpeg").split(";")[0].strip().lower()
    if kind not in ("image/jpeg", "application/octet-stream"):
        raise ApiError(415, f"push frames as image/jpeg, not {kind[:80]}", "not_a_jpeg")
    body = await request.body()
    return await to_thread.run_sync(lambda: _push(service, stream_id, body, x_capture_time))


@router.websocket("/{stream_id}/frames")
async def push_many(socket: WebSocket, service: ServiceHere, stream_id: str) -> None:
    """Each binary message is a JPEG frame; a text message {"captured_at": ...} dates the next one.

    The answer to each frame is one message: {"accepted": ..., "dropped": ...} or {"error": ...}.
    """
    try:
        require(await caller_of(socket, service), Action.PUSH, stream_id)
        service.loaded.streams.get(stream_id)
    except (ApiError, VStreamError) as error:
        await socket.close(code=1008, reason=api_error(error).detail.message[:120])
        return

    async def pushed(frame: bytes, captured_at: str | None) -> dict[str, Any]:
        told = await to_thread.run_sync(_push, service, stream_id, frame, captured_at)
        return told.model_dump()

    await take_frames(socket, pushed)


def _push(service: Service, stream_id: str, body: bytes, captured_at: str | None) -> Pushed:
    moment = parse_when(captured_at, datetime.now(UTC))
    taken_at = None if moment is None else moment.timestamp()
    return Pushed(**vars(service.loaded.streams.get(stream_id).push(body, taken_at)))
