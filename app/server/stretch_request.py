"""StretchRequest: run find and recap on ranges of streams, and send what they find."""

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
"""Pairs of an event name and its document: first `begun`, with a function that reports progress;
then each finding; last `done`, with the whole result.
"""
_PAUSE_S = 0.25
"""Send progress at least this often, so that a client that has left is noticed soon."""


class StretchRequest(TimeRange):
    """`*` in `stream_ids` stands for every stream that this key may ask about."""

    model_config = ConfigDict(strict=True)

    stream_ids: list[Annotated[str, Field(max_length=128)]] = Field(
        ["*"], min_length=1, max_length=64
    )
    effort: Literal["quick", "default", "thorough"] = "default"
    stream: bool = Field(False, description="Send each finding as an event, as it is found.")

    def require_allowed(self, caller: Caller) -> None:
        """Raises ApiError if the caller may not ask about one of the streams."""
        for stream_id in self.stream_ids:
            if stream_id != "*":
                require(caller, Action.ASK, stream_id)

    def bounds(self, service: Service, caller: Caller) -> dict[str, Bounds]:
        """The range of each stream, in stream time. Raises UnknownStreamError, QuestionError."""
        ids = list(dict.fromkeys(self.stream_ids))
        if "*" in ids:
            watched = [keeper.spec.id for keeper in service.loaded.streams.all()]
            ids = [stream_id for stream_id in watched if caller.may(Action.ASK, stream_id)]
        return {stream_id: service.loaded.stream_range(stream_id, self) for stream_id in ids}


Wanted = TypeVar("Wanted", bound=StretchRequest)


class Stretches(TypedDict):
    """The arguments that Finding and Recap share."""

    streams: Mapping[str, Describable]
    within: Mapping[str, Bounds]
    layers: tuple[int, ...] | None
    asker: Asker


@dataclass(frozen=True)
class Seeker:
    """A request that searches ranges of streams."""

    service: Service
    caller: Caller
    asker: Asker
    request: Request

    async def answered(
        self, wanted: Wanted, look: Callable[["Seeker", Wanted, Stretches], Found]
    ) -> Any:
        """Return what `look` finds, whole or as events. A bad request raises before anything is
        sent. Stops if the client disconnects.
        """
        wanted.require_allowed(self.caller)
        found = self._found(wanted, look)
        _, how_far = await in_thread(self.request, lambda: next(found))
        if wanted.stream:
            events = _events(self.request, self.asker, found, how_far)
            return StreamingResponse(events, media_type="text/event-stream")
        return await in_thread(self.request, lambda: [*found][-1][1])

    def _found(self, wanted: Wanted, look: Callable[["Seeker", Wanted, Stretches], Found]) -> Found:
        """Run `look` on the streams' ranges. Raises UnknownStreamError, QuestionError,
        KVMemoryError; CancelledError if the asker leaves.
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
        async for event in with_pauses(_found_events(request, found), _PAUSE_S):
            kind, one = event or ("progress", how_far())
            yield event_of(one.model_dump(by_alias=True), kind)
    except Exception as error:  # noqa: BLE001  headers are sent: report the error in the stream
        yield event_of(api_error(error).body)
    finally:
        asker.leave()
        with suppress(ValueError):  # it still runs in an abandoned thread, and ends by itself
            found.close()
    yield DONE


async def _found_events(request: Request, found: Found) -> AsyncIterator[tuple[str, BaseModel]]:
    while (one := await in_thread(request, lambda: next(found, None), abandon=True)) is not None:
        yield one
