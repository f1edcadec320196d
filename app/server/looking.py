"""Looking: a request to see what is kept of a stream in, what its key may see of it out."""

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
    """Who looks at what is kept of one stream."""

    service: Service
    caller: Caller
    request: Request
    stream_id: str

    async def look(self, see: Callable[[], Seen]) -> Seen:
        """What `see` gives, in a thread of those that look. Raises ApiError where the key may not
        read the stream, BusyError where too many wait.
        """
        require(self.caller, Action.READ, self.stream_id)
        return await in_threads(self.request, Work.LOOKING, see, self.caller.holder)


async def _looker(
    service: ServiceHere, caller: CallerHere, request: Request, stream_id: str
) -> Looker:
    return Looker(service, caller, request, stream_id)


LookerHere = Annotated[Looker, Depends(_looker)]
