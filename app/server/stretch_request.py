"""StretchRequest: which streams are looked through, and when, in; what is found there out."""

from collections.abc import AsyncIterator, Callable, Generator, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypedDict, TypeVar

from fastapi import Depends, Request
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field

from app.server.access import CallerHere, ServiceHere, require
from app.server.api_errors import api_error
from app.server.asking import AskerHere, in_thread
from app.server.keys import Action, Caller
from app.server.service import Service
from app.server.sse import DONE, event_of, with_pauses
from app.server.time_range import TimeRange
from vstream.device.asker import Asker
from vstream.search.recap import Describable
from vstream.search.stretch_blocks import Bounds

Found = Generator[tuple[str, Any]]
"""Names with documents: what is found as it is found, and at last `done` with the whole. Before
them comes `begun` with what tells how far it has come.
"""
_PAUSE_S = 0.25
"""Who listens hears at least so often how far it has come, and so can go at any time."""


class StretchRequest(TimeRange):
    """`stream_ids` of `*` are all that this key may ask about."""

    model_config = ConfigDict(strict=True)

    stream_ids: list[Annotated[str, Field(max_length=128)]] = Field(
        ["*"], min_length=1, max_length=64
    )
    effort: Literal["quick", "default", "thorough"] = "default"
    stream: bool = Field(False, description="Send what is found as events, once it is found.")

    def require_allowed(self, caller: Caller) -> None:
        """Raises ApiError."""
        for stream_id in self.stream_ids:
            if stream_id != "*":
                require(caller, Action.ASK, stream_id)

    def bounds(self, service: Service, caller: Caller) -> dict[str, Bounds]:
        """The stretch of each stream. Raises UnknownStreamError, QuestionError."""
        ids = list(dict.fromkeys(self.stream_ids))
        if "*" in ids:
            watched = [keeper.spec.id for keeper in service.loaded.streams.all()]
            ids = [stream_id for stream_id in watched if caller.may(Action.ASK, stream_id)]
        return {stream_id: service.loaded.stream_range(stream_id, self) for stream_id in ids}


Wanted = TypeVar("Wanted", bound=StretchRequest)


class Stretches(TypedDict):
    """What Finding and Recap look through, and for whom."""

    streams: Mapping[str, Describable]
    within: Mapping[str, Bounds]
    layers: tuple[int, ...] | None
    asker: Asker


@dataclass(frozen=True)
class Seeker:
    """Who has streams looked through."""

    service: Service
    caller: Caller
    asker: Asker
    request: Request

    async def answered(
        self, wanted: Wanted, look: Callable[["Seeker", Wanted, Stretches], Found]
    ) -> Any:
        """What `look` finds: the whole, or all as events. What is wrong with the request is raised
        before anything is sent; it ends when the client goes away.
        """
        wanted.require_allowed(self.caller)
        found = self._found(wanted, look)
        _, how_far = await in_thread(self.request, lambda: next(found))
        if wanted.stream:
            events = _events(self.request, self.asker, found, how_far)
            return StreamingResponse(events, media_type="text/event-stream")
        return await in_thread(self.request, lambda: [*found][-1][1])

    def _found(self, wanted: Wanted, look: Callable[["Seeker", Wanted, Stretches], Found]) -> Found:
        """Raises UnknownStreamError, QuestionError, KVMemoryError; CancelledError if the asker
        leaves.
        """
        within, streams = wanted.bounds(self.service, self.caller), self.service.loaded.streams
        layers = self.service.settings.engine.search_layers
        with ExitStack() as reading:
            read = {one: reading.enter_context(streams.askable(one)) for one in within}
            stretches = Stretches(streams=read, within=within, layers=layers, asker=self.asker)
            yield from look(self, wanted, stretches)


async def _seeker(
    service: ServiceHere, caller: CallerHere, asker: AskerHere, request: Request
) -> Seeker:
    return Seeker(service, caller, asker, request)


SeekerHere = Annotated[Seeker, Depends(_seeker)]


async def _events(
    request: Request, asker: Asker, found: Found, how_far: Callable[[], BaseModel]
) -> AsyncIterator[str]:
    try:
        async for told in with_pauses(_told(request, found), _PAUSE_S):
            kind, one = told or ("progress", how_far())
            yield event_of(one.model_dump(by_alias=True), kind)
    except Exception as error:  # noqa: BLE001  the headers are gone: it is told in the stream
        yield event_of(api_error(error).body)
    finally:
        asker.leave()
        with suppress(ValueError):  # it is in a thread that was left, and ends by itself
            found.close()
    yield DONE


async def _told(request: Request, found: Found) -> AsyncIterator[tuple[str, BaseModel]]:
    while (one := await in_thread(request, lambda: next(found, None), abandon=True)) is not None:
        yield one
