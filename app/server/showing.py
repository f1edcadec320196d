"""Showing: turn the pictures and clips of a request into a private, temporary stream.

It lives for one answer. Nothing of it is listed, stored or logged but that a question was asked.
"""

import asyncio
from concurrent.futures import CancelledError
from contextlib import ExitStack, suppress

from app.server.api_errors import ApiError
from app.server.ask_request import AskRequest
from app.server.keys import Action, Caller
from app.server.service import Service
from vstream.device.asker import Asker
from vstream.errors import BusyError
from vstream.service.fetched_media import fetch_media
from vstream.service.shown_media import ShownMedia, show
from vstream.session import Session


async def shown_by(
    service: Service, caller: Caller, asker: Asker, wanted: AskRequest
) -> tuple[ShownMedia, ...]:
    """Fetch the request's pictures and clips. Holds one of a few places until the asker leaves.

    Raises ApiError, SourceError, BusyError; CancelledError if the asker leaves.
    """
    if not wanted.media:
        return ()
    require_ask(caller)
    limits = service.settings.service
    if len(wanted.media) > limits.request_pictures:
        why = f"{len(wanted.media)} pictures and clips; the limit is {limits.request_pictures}"
        raise ApiError(400, f"{why} (service.request_pictures)", "too_many_pictures")
    with ExitStack() as place:
        try:
            place.enter_context(service.showing.held(caller.holder))
        except BusyError:
            service.metrics.refused.labels("busy").inc()
            raise
        asker.on_leave(place.pop_all().close)
    urls = [(one.name, one.url) for one in wanted.media]
    bounds = limits.request_bytes, limits.request_fetch_s
    loop = asyncio.get_running_loop()

    def end_fetching() -> None:
        with suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(fetching.cancel)

    fetching = asyncio.ensure_future(fetch_media(urls, limits.allow_private, *bounds))
    asker.on_leave(end_fetching)
    try:
        found = await fetching
    except asyncio.CancelledError:
        if asker.has_left:
            raise CancelledError from None
        raise
    return tuple(
        ShownMedia(one.name, data, one.is_clip)
        for one, data in zip(wanted.media, found, strict=True)
    )


def passing_stream(service: Service, asker: Asker, shown: tuple[ShownMedia, ...]) -> Session:
    """Encode what is shown as a stream; blocks until done. Raises what `show` raises."""
    settings = service.settings
    limits = settings.service
    session = service.loaded.streams.passing()
    bounds = limits.request_pixels, limits.request_fetch_s
    show(session, shown, settings.source, *bounds, asker)
    return session


def require_ask(caller: Caller) -> None:
    """Raises ApiError for a key that may not ask about any stream."""
    if not caller.may_somewhere(Action.ASK):
        raise ApiError(403, f"this key may not {Action.ASK.value} here", "not_permitted")
