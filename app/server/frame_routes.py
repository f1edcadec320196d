"""Frames over HTTP and WebSocket: pushed in as JPEG, and pictures of the past and present out."""

import io
import json
from datetime import UTC, datetime
from typing import Annotated, Any

from anyio import to_thread
from fastapi import APIRouter, Header, Query, Request, Response, WebSocket, WebSocketDisconnect
from PIL import Image

from app.server.access import CallerHere, ServiceHere, caller_of, require
from app.server.api_errors import ApiError, api_error
from app.server.ask_request import TimeRange
from app.server.documents import Pushed
from app.server.keys import Action
from app.server.service import Service
from app.server.threads import Work, in_threads
from encoders import Frame
from memory import KVMemoryError
from vstream.errors import VStreamError
from vstream.service.clip import animated, pictures_around
from vstream.times.when import parse_when

router = APIRouter(prefix="/v1/streams", tags=["frames"])
pushing = APIRouter(prefix="/v1/streams", tags=["frames"])
"""Frames that are pushed are many: they do not count as requests, but as frames."""

_JPEG: dict[str, Any] = {"image/jpeg": {"schema": {"type": "string", "format": "binary"}}}
_WEBP: dict[str, Any] = {"image/webp": {"schema": {"type": "string", "format": "binary"}}}
_ABOUT = "A JPEG; X-Stream-Time and X-Capture-Time say of when it is."
_JPEG_QUALITY = 85
Moment = Annotated[
    str | None, Query(max_length=64, description="RFC 3339, seconds since the epoch, or as `-10m`.")
]
StreamMoment = Annotated[float | None, Query(ge=0, le=1e10, description="Stream time.")]


@router.get(
    "/{stream_id}/frame.jpg",
    summary="Get a frame",
    response_class=Response,
    responses={200: {"content": _JPEG, "description": _ABOUT}},
)
async def frame(
    service: ServiceHere,
    caller: CallerHere,
    request: Request,
    stream_id: str,
    t: Moment = None,
    t_s: StreamMoment = None,
) -> Response:
    """The newest frame; or of a moment the small picture that the memory keeps of it."""
    require(caller, Action.READ, stream_id)
    span = TimeRange(to=t, to_s=t_s)
    return await in_threads(
        request, Work.LOOKING, lambda: _frame(service, stream_id, span), caller.holder
    )


def _frame(service: Service, stream_id: str, span: TimeRange) -> Response:
    if span.is_open:
        keeper = service.loaded.streams.find(stream_id)
        newest = None if keeper is None else keeper.newest_frame
        if newest is not None:
            return _response(_jpeg(newest), newest.stream_s, newest.captured_at)
    _, to_s = service.loaded.stream_range(stream_id, span)
    with service.loaded.streams.askable(stream_id) as stream, service.loaded.model.turn:
        kept = stream.memory.visible(to_s)
        if not kept:
            raise ApiError(404, "no frame of that time is kept", "frame_not_found", param="t")
        info = stream.memory.info(kept[-1])
        picture = stream.memory.thumbnail(kept[-1])
    if not picture:
        raise ApiError(404, "the picture of that frame is damaged", "frame_not_found", param="t")
    return _response(picture, info.end_s, info.captured_at)


@router.get(
    "/{stream_id}/clip.webp",
    summary="Get a clip",
    response_class=Response,
    responses={200: {"content": _WEBP, "description": "Of a few pictures, over and over."}},
)
async def clip(
    service: ServiceHere,
    caller: CallerHere,
    request: Request,
    stream_id: str,
    t: Moment = None,
    t_s: StreamMoment = None,
) -> Response:
    """A short animated picture of the seconds around a moment, of what the memory keeps of it."""
    require(caller, Action.READ, stream_id)
    span = TimeRange(to=t, to_s=t_s)
    return await in_threads(
        request, Work.LOOKING, lambda: _clip(service, stream_id, span), caller.holder
    )


def _clip(service: Service, stream_id: str, span: TimeRange) -> Response:
    _, to_s = service.loaded.stream_range(stream_id, span)
    with service.loaded.streams.askable(stream_id) as stream, service.loaded.model.turn:
        at_s = stream.memory.newest_s if to_s is None else to_s
        pictures = pictures_around(stream.memory, at_s)
    if not pictures:
        raise ApiError(404, "no frame of that time is kept", "frame_not_found", param="t")
    headers = {"Cache-Control": "no-store"}
    return Response(animated(pictures), media_type="image/webp", headers=headers)


@pushing.post(
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
        str | None, Header(max_length=64, description="When it was taken; else now.")
    ] = None,
) -> Pushed:
    """Hand in the next frame of a stream of type `push`, as a JPEG body."""
    require(caller, Action.PUSH, stream_id)
    kind = request.headers.get("content-type", "image/jpeg").split(";")[0].strip().lower()
    if kind not in ("image/jpeg", "application/octet-stream"):
        raise ApiError(415, f"frames are pushed as image/jpeg, not {kind[:80]}", "not_a_jpeg")
    body = await request.body()
    return await to_thread.run_sync(lambda: _push(service, stream_id, body, x_capture_time))


@pushing.websocket("/{stream_id}/frames")
async def push_many(socket: WebSocket, service: ServiceHere, stream_id: str) -> None:
    """Binary messages are JPEG frames; a text message {"captured_at": ...} dates the next.

    Each frame is answered by one message: {"accepted": ..., "dropped": ...} or {"error": ...}.
    """
    try:
        require(await caller_of(socket, service), Action.PUSH, stream_id)
        service.loaded.streams.get(stream_id)
    except (ApiError, VStreamError) as error:
        await socket.close(code=1008, reason=api_error(error).detail.message[:120])
        return
    await socket.accept()
    captured_at: str | None = None
    try:
        while True:
            message = await socket.receive()
            if message["type"] == "websocket.disconnect":
                return
            try:
                if message.get("bytes") is None:
                    captured_at = _dated(message.get("text") or "")
                    continue
                told = await to_thread.run_sync(
                    _push, service, stream_id, message["bytes"], captured_at
                )
                answer = told.model_dump()
            except (ApiError, VStreamError, KVMemoryError) as error:
                answer = api_error(error).body
            captured_at = None
            await socket.send_json(answer)
    except (WebSocketDisconnect, RuntimeError):
        return


def _push(service: Service, stream_id: str, body: bytes, captured_at: str | None) -> Pushed:
    moment = parse_when(captured_at, datetime.now(UTC))
    taken_at = None if moment is None else moment.timestamp()
    return Pushed(**vars(service.loaded.streams.get(stream_id).push(body, taken_at)))


def _dated(text: str) -> str:
    """The time in a text message. Raises ApiError."""
    try:
        return str(json.loads(text)["captured_at"])
    except (ValueError, KeyError, TypeError, RecursionError):
        told = 'a text message is {"captured_at": ...}'
        raise ApiError(422, told, "invalid_value") from None


def _jpeg(newest: Frame) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(newest.pixels).save(buffer, "JPEG", quality=_JPEG_QUALITY)
    return buffer.getvalue()


def _response(picture: bytes, stream_s: float, captured_at: float) -> Response:
    headers = {
        "X-Stream-Time": f"{stream_s:.3f}",
        "X-Capture-Time": f"{captured_at:.3f}",
        "Cache-Control": "no-store",
    }
    return Response(picture, media_type="image/jpeg", headers=headers)
