"""Pictures of a stream over HTTP, live or from memory: a frame, an animation or a clip."""

import io
import re
from collections.abc import Sequence
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Response
from PIL import Image

from app.server.api_errors import ApiError
from app.server.asking import leaving_with_client
from app.server.documents import rfc3339
from app.server.looking import Looker, LookerHere
from app.server.time_range import TimeRange
from encoders import Frame
from vstream.device.asker import Asker
from vstream.service.clip import KeptPicture, animated, picture_at, pictures_around, pictures_within
from vstream.service.clip_video import clip_video

router = APIRouter(prefix="/v1/streams", tags=["frames"])

_ABOUT = "A JPEG; X-Stream-Time and X-Capture-Time say when it was captured."
_ABOUT_CLIP = (
    "H.264 without sound, each picture shown at its time. X-Stream-Time and X-Capture-Time say "
    "when the first was captured, X-Picture-Times at which seconds of the clip each one is shown. "
    "A `Range` request gets a 206."
)
_JPEG_QUALITY = 85
MOST_S = 60.0
_SLACK_S = 1.0
"""A minute by the clock may be slightly more in stream time."""
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")


def _binary(kind: str, about: str) -> dict[int | str, dict[str, Any]]:
    content = {kind: {"schema": {"type": "string", "format": "binary"}}}
    return {200: {"content": content, "description": about}}


async def _moment(
    t: Annotated[
        str | None,
        Query(max_length=64, description="RFC 3339, seconds since the epoch, or e.g. `-10m`."),
    ] = None,
    t_s: Annotated[float | None, Query(ge=0, le=1e10, description="Stream time, seconds.")] = None,
) -> TimeRange:
    return TimeRange(to=t, to_s=t_s)


MomentHere = Annotated[TimeRange, Depends(_moment)]


@router.get(
    "/{stream_id}/frame.jpg",
    summary="Get a frame",
    response_class=Response,
    responses=_binary("image/jpeg", _ABOUT),
)
async def frame(looker: LookerHere, moment: MomentHere) -> Response:
    """Return the newest frame; or, for a past moment, the small picture that the memory keeps."""
    return await looker.look(partial(_frame, looker, moment))


def _frame(looker: Looker, moment: TimeRange) -> Response:
    loaded, stream_id = looker.service.loaded, looker.stream_id
    if moment.is_open:
        keeper = loaded.streams.find(stream_id)
        newest = None if keeper is None else keeper.newest_frame
        if newest is not None:
            return _response(_jpeg(newest), newest.stream_s, newest.captured_at)
    _, to_s = loaded.stream_range(stream_id, moment)
    with loaded.streams.askable(stream_id) as stream, loaded.model.turn:
        kept = picture_at(stream.memory, to_s)
    if kept is None:
        raise _nothing("t")
    return _response(kept.jpeg, kept.end_s, kept.captured_at)


@router.get(
    "/{stream_id}/clip.webp",
    summary="Get an animation",
    response_class=Response,
    responses=_binary("image/webp", "A few pictures, in a loop."),
)
async def moving_picture(looker: LookerHere, moment: MomentHere) -> Response:
    """Return a short animation of the seconds around a moment, made of pictures in memory."""
    return await looker.look(partial(_moving_picture, looker, moment))


def _moving_picture(looker: Looker, moment: TimeRange) -> Response:
    loaded, stream_id = looker.service.loaded, looker.stream_id
    _, to_s = loaded.stream_range(stream_id, moment)
    with loaded.streams.askable(stream_id) as stream, loaded.model.turn:
        at_s = stream.memory.newest_s if to_s is None else to_s
        pictures = pictures_around(stream.memory, at_s)
    if not pictures:
        raise _nothing("t")
    return Response(animated(pictures), media_type="image/webp", headers=_NO_STORE)


@router.get(
    "/{stream_id}/clip.mp4",
    summary="Get a clip",
    response_class=Response,
    responses=_binary("video/mp4", _ABOUT_CLIP),
)
async def clip(looker: LookerHere, span: Annotated[TimeRange, Query()]) -> Response:
    """Return the pictures in memory of up to a minute, as a video. With one bound, the clip is the
    minute from or up to it; with none, the newest minute. Stops if the client disconnects.
    """
    asker = Asker(looker.caller.holder)
    async with leaving_with_client(looker.request, asker):
        return await looker.look(partial(_clip, looker, span, asker))


def _clip(looker: Looker, span: TimeRange, asker: Asker) -> Response:
    loaded, stream_id = looker.service.loaded, looker.stream_id
    bounds = loaded.stream_range(stream_id, span)
    with loaded.streams.askable(stream_id) as stream, loaded.model.turn:
        from_s, to_s = _bounded(*bounds, stream.memory.newest_s)
        pictures = pictures_within(stream.memory, from_s, to_s)
    if not pictures:
        raise _nothing("from")
    response = _part_of(clip_video(pictures, asker), looker.request.headers.get("range", ""))
    response.headers.update(_about(stream_id, pictures))
    return response


def _bounded(from_s: float | None, to_s: float | None, newest_s: float) -> tuple[float, float]:
    """Fill in missing bounds. Raises ApiError for a range that is too long."""
    if to_s is None:
        to_s = newest_s if from_s is None else from_s + MOST_S
    if from_s is None:
        from_s = to_s - MOST_S
    if to_s - from_s > MOST_S + _SLACK_S:
        why = f"a clip lasts up to {MOST_S:.0f} s: ask for a shorter range"
        raise ApiError(422, why, "clip_too_long", param="to")
    return from_s, to_s


def _about(stream_id: str, pictures: Sequence[KeptPicture]) -> dict[str, str]:
    first = pictures[0]
    taken = re.sub(r"\.\d+|:", "", rfc3339(first.captured_at))
    return {
        "X-Stream-Time": f"{first.end_s:.3f}",
        "X-Capture-Time": f"{first.captured_at:.3f}",
        "X-Picture-Times": ",".join(f"{one.end_s - first.end_s:.3f}" for one in pictures),
        "Content-Disposition": f'inline; filename="{stream_id}-{taken}.mp4"',
        **_NO_STORE,
    }


def _part_of(video: bytes, wanted: str) -> Response:
    """The bytes that a `Range` header asks for, as players do; all of them if there is none that we
    understand. Raises ApiError for a range past the end.
    """
    headers, status = {"Accept-Ranges": "bytes"}, 200
    if (match := _RANGE.fullmatch(wanted)) and any(match.groups()):
        begin, end = match.groups()
        first = int(begin) if begin else max(0, len(video) - int(end))
        behind = min(int(end) + 1, len(video)) if begin and end else len(video)
        if first >= behind:
            there = {"Content-Range": f"bytes */{len(video)}"}
            raise ApiError(416, "the range is past the end", "range_invalid", headers=there)
        headers["Content-Range"] = f"bytes {first}-{behind - 1}/{len(video)}"
        video, status = video[first:behind], 206
    return Response(video, status, headers, "video/mp4")


def _jpeg(newest: Frame) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(newest.pixels).save(buffer, "JPEG", quality=_JPEG_QUALITY)
    return buffer.getvalue()


def _response(picture: bytes, stream_s: float, captured_at: float) -> Response:
    headers = {
        "X-Stream-Time": f"{stream_s:.3f}",
        "X-Capture-Time": f"{captured_at:.3f}",
        **_NO_STORE,
    }
    return Response(picture, media_type="image/jpeg", headers=headers)


def _nothing(param: str) -> ApiError:
    return ApiError(404, "no picture is kept of that time", "frame_not_found", param=param)


_NO_STORE = {"Cache-Control": "no-store"}
"""Forgotten pictures must not live on in a cache."""
