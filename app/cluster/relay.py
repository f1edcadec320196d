"""Relay: passes a request to a worker, and to another if that one dies during its answer."""

import asyncio
import json
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from secrets import token_hex
from typing import Any, Protocol

import structlog
from starlette.responses import Response
from starlette.types import Message, Send

from app.cluster.key_of import parsed
from app.cluster.membership import Membership, To
from app.server.api_errors import ApiError
from app.server.attempt import KEY, new_attempt
from app.server.request_guard import ASKING_PATHS
from app.server.sent_events import OtherAnswerError, SentEvents
from app.server.sse import DONE, event_of

_log = structlog.get_logger()
BEAT_S = 1.0
"""How often a worker with nothing to send sends a beat."""
WINDOW = 64
"""How many messages of a worker may be on their way."""
_SILENT_S = 3.0
"""A worker that is silent for this long counts as dead."""
_PATIENCE_S = 30.0
"""How long to look for a worker that can say more than the client has."""
_AGAIN_S = 0.2
_EVENTS = (b"content-type", b"text/event-stream; charset=utf-8")
_LEAVING = (b'"service_draining"', b'"service_loading"', b'"cancelled"')


def is_answer(scope: Mapping[str, Any]) -> bool:
    return scope["method"] == "POST" and scope["path"] in ASKING_PATHS


class WorkerLostError(Exception):
    """The worker has died, or cannot be reached."""


class CutOffError(Exception):
    """The worker ends before its answer does."""


class Workers(Protocol):
    """How a process reaches the workers."""

    def ask(self, to: To, call: Mapping[str, Any]) -> AsyncGenerator[dict[str, Any], None]:
        """Yield the messages of one worker, see StreamWorker.asgi. Raises WorkerLostError."""

    async def acknowledge(self, worker: str, call_id: str, num: int) -> None:
        """Report that `num` more messages of a call have arrived."""


@dataclass
class Reply:
    """The answer of one worker."""

    status: int = 0
    body: bytes = b""
    headers: Sequence[tuple[bytes, bytes]] = ()

    async def take(self, message: Message) -> None:
        self.status = message.get("status", self.status)
        self.headers = message.get("headers", self.headers)
        self.body += message.get("body", b"")

    @property
    def response(self) -> Response:
        response = Response(self.body, self.status)
        response.raw_headers = list(self.headers)
        return response


@dataclass
class Request:
    """A client's request. `scope` is ASGI's, of plain values. The worker that watches `stream_id`
    should answer, and no other if `is_owners`; or the worker `at`. `asked` are all workers that
    answer for their streams.
    """

    scope: dict[str, Any]
    body: bytes
    stream_id: str | None = None
    is_owners: bool = False
    at: str | None = None
    asked: Sequence[str] = ()

    def __post_init__(self) -> None:
        if is_answer(self.scope):
            self.scope = {**self.scope, KEY: new_attempt()}

    @property
    def can_go_on(self) -> bool:
        """Whether another worker can continue an answer that has begun."""
        is_followed = self.scope["path"].startswith("/v1/responses/")
        return is_answer(self.scope) or (is_followed and self.scope["method"] == "GET")

    @property
    def may_repeat(self) -> bool:
        return is_answer(self.scope) or self.scope["method"] == "GET"

    @property
    def is_sampled(self) -> bool:
        """Whether each worker would answer in different words."""
        wishes = parsed(self.body)
        return bool(wishes.get("temperature")) and wishes.get("seed") is None


@dataclass
class Relay:
    """Hands each request to workers until one has answered it to the end."""

    workers: Workers
    members: Membership
    silent_s: float = _SILENT_S
    patience_s: float = _PATIENCE_S

    async def answer(self, request: Request, send: Send) -> None:
        """Answer a request. Raises ApiError if nothing has been sent yet."""
        begun, give_up_at = _Begun(request, send), 0.0
        try:
            while not await self._is_answered(begun):
                if begun.is_ahead:
                    begun.is_ahead, give_up_at = False, time.monotonic() + self.patience_s
                if not begun.may_go_on or time.monotonic() >= give_up_at:
                    raise OtherAnswerError
                begun.sent.begin_again()
                await asyncio.sleep(_AGAIN_S)
        except OtherAnswerError:
            await begun.fail()

    async def _is_answered(self, begun: "_Begun") -> bool:
        """Whether the next worker has answered to the end. Raises OtherAnswerError."""
        request = begun.request
        to = To(at=request.at, stream=request.stream_id, without=sorted(begun.lost))
        worker = next(iter(self.members.ranked(to)), None)
        call_id, num = token_hex(8), 0
        call = {
            "id": call_id,
            "scope": request.scope,
            "body": request.body,
            "stream": request.stream_id,
            "is_owners": request.is_owners,
            "asked": request.asked,
        }
        try:
            async with aclosing(self.workers.ask(to, call)) as messages:
                while message := await asyncio.wait_for(anext(messages, None), self.silent_s):
                    kind = message["type"]
                    if kind == "vstream.not_mine":
                        begun.is_accepted = False
                        is_known = request.stream_id == message["stream"]
                        request.stream_id = message["stream"]
                        return False if is_known else await self._is_answered(begun)
                    if kind == "vstream.accepted":
                        worker = message["worker"]
                        request.scope = {**request.scope, KEY: message["attempt"]}
                        begun.is_accepted = True
                    elif kind != "vstream.beat":
                        await begun.take(message)
                    num += 1
                    if num % (WINDOW // 2) == 0 and worker is not None:
                        await self.workers.acknowledge(worker, call_id, WINDOW // 2)
        except (CutOffError, WorkerLostError, TimeoutError) as error:
            self._lose(begun, worker, is_hung=not isinstance(error, CutOffError))
        return begun.is_whole

    def _lose(self, begun: "_Begun", worker: str | None, *, is_hung: bool) -> None:
        if worker is not None:
            begun.lost.add(worker)
            _log.warning(
                "worker lost", worker=worker, is_hung=is_hung, path=begun.request.scope["path"]
            )
        if worker is not None and is_hung:
            self.members.suspect(worker)
        if begun.lost.issuperset(self.members.workers):
            begun.lost.clear()  # try all again, while there is time


@dataclass
class _Begun:
    """An answer that has begun, and the part of it that the client has."""

    request: Request
    send: Send
    sent: SentEvents = field(default_factory=SentEvents)
    lost: set[str] = field(default_factory=set)
    is_accepted: bool = False
    is_whole: bool = False
    is_ahead: bool = True
    """Whether the last worker did more than those before it."""
    _is_sent: bool = False
    _start: Message = field(default_factory=dict)
    _parts: list[bytes] = field(default_factory=list)

    @property
    def may_go_on(self) -> bool:
        if self.request.at in self.lost:
            return False
        if not self._is_sent:
            return self.request.may_repeat or not self.is_accepted
        return self.request.can_go_on and not (self.sent.text and self.request.is_sampled)

    async def take(self, message: Message) -> None:
        """Take a message from the worker. Anything but an event stream is sent whole."""
        if message["type"] == "http.response.start":
            self._start, self._parts = message, []
            return
        body, is_last = message.get("body", b""), not message.get("more_body")
        if _EVENTS not in self._start["headers"]:
            self._parts.append(body)
            if not is_last:
                return
            body = b"".join(self._parts)
            if self._start["status"] == 503 and any(code in body for code in _LEAVING):
                raise CutOffError
            if self._is_sent:  # events of the previous worker
                raise OtherAnswerError
        elif self.request.can_go_on:
            events = body.decode().split("\n\n")[:-1]
            body = "".join(map(self._news, events)).encode()
        if not self._is_sent:
            await self.send(self._start)
            self._is_sent = True
        if body or is_last:
            self.is_ahead = True
            await self.send({**message, "body": body})
        self.is_whole = is_last

    def _news(self, event: str) -> str:
        """Return what of an event is still to be sent, perhaps nothing."""
        head, _, data = event.rpartition("data: ")
        if not data.startswith("{"):
            return f"{event}\n\n"
        document = json.loads(data)
        if (document.get("error") or {}).get("code") == "cancelled":
            raise CutOffError
        news = self.sent.news(document)
        return "" if news is None else f"{head}{event_of(news)}"

    async def fail(self) -> None:
        _log.warning("answer given up", path=self.request.scope["path"], words=len(self.sent.text))
        why = "the worker that answered is gone, and no other can continue: ask again"
        error = ApiError(503, why, "worker_lost")
        if not self._is_sent:
            raise error
        await self.send(
            {"type": "http.response.body", "body": f"{event_of(error.body)}{DONE}".encode()}
        )
