"""Looking: read what is kept of a stream for a request, if its key may."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, TypeVar

from fastapi import Depends, Request

from app.server.access import CallerHere, ServiceHere, require
from app.server.keys import Action, Caller
from app.server.service import Service
from app.server.threads import Work, in_threads

Seen = TypeVar("Seen")


@dataclass(frozen=True)
class Looker:
    """A request that reads one stream's memory."""

    service: Service
    caller: Caller
    request: Request
    stream_id: str

    async def look(self, see: Callable[[], Seen]) -> Seen:
        """Run `see` in a thread reserved for such reads, and return its result. Raises ApiError if
        the key may not read the stream, BusyError if too many wait.
        """
        require(self.caller, Action.READ, self.stream_id)
        return await in_threads(self.request, Work.LOOKING, see, self.caller.holder)


async def _looker(
    service: ServiceHere, caller: CallerHere, request: Request, stream_id: str
) -> Looker:
    return Looker(service, caller, request, stream_id)


LookerHere = Annotated[Looker, Depends(_looker)]
