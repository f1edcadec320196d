"""Ingress: passes clients' requests to workers; checks keys and limits and reports events itself.

It has no model, and imports none.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import nullcontext, suppress
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qsl
from zoneinfo import ZoneInfo

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, generate_latest
from starlette.exceptions import HTTPException
from starlette.requests import Request as ClientRequest
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket

from app.cluster.key_of import Kind, key_of, parsed
from app.cluster.membership import Membership, To
from app.cluster.merged_search import MergedSearch, refusal
from app.cluster.merging import merged, merged_metrics
from app.cluster.relay import Relay, Reply, Request, Workers
from app.server.api_errors import ApiError, api_error, no_key
from app.server.event_lines import EventFilter
from app.server.frame_socket import take_frames
from app.server.guards import guards
from app.server.keys import Action, ApiKeys, Caller
from app.server.realtime import converse
from app.server.settings import ServiceSettings
from app.server.sse import DONE, event_of
from vstream.device.shares import RateLimit, Shares
from vstream.service.alert_spec import ALL
from vstream.service.event_log import EventLog

_DEADLINE_S = 20.0
"""For the answers of all workers to a merged request; searches have no deadline."""
_NO_PAGE = "To see a cluster's page, run: vstream ui --service URL, with this address as URL.\n"
_UNHEARD_S = 2.0
_LOOK_S = 0.05
_LONG = ("/v1/moments", "/v1/recaps")
_KEPT_BACK = (b"origin", b"cookie", b"transfer-encoding")
"""Headers that the ingress has dealt with."""


class Ingress:
    """One of any number of ingresses; `application` is its ASGI application."""

    def __init__(
        self, settings: ServiceSettings, keys: ApiKeys, workers: Workers, members: Membership
    ) -> None:
        limits = settings.service
        self.events = EventLog()
        self._keys = keys
        self._members = members
        self._limit = RateLimit(limits.requests_per_minute)
        self._listeners = Shares(limits.max_listeners, "clients are listening to events")
        self._zone = ZoneInfo(limits.timezone)
        self._registry = CollectorRegistry()
        requests = Counter(
            "vstream_ingress_requests", "Requests answered.", ["status"], registry=self._registry
        )
        self._relay = Relay(workers, members)
        self._once = Relay(workers, members, patience_s=0)
        self.application: ASGIApp = self._answer
        for guard, options in guards(
            limits, keys, lambda _, __, status: requests.labels(status).inc()
        ):
            self.application = guard(self.application, **options)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            if scope["path"] == "/v1/realtime":
                return await self._converse(WebSocket(scope, receive, send))
            return await self._push_many(scope, receive, send)
        if scope["type"] != "http":
            return None
        try:
            caller = self._caller(scope)
            body = await ClientRequest(scope, receive).body()
            answering = asyncio.ensure_future(self._routed(scope, body, caller, receive, send))
            leaving = asyncio.ensure_future(_left(receive))
            try:
                await asyncio.wait({answering, leaving}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                leaving.cancel()
                answering.cancel()
                await asyncio.gather(leaving, answering, return_exceptions=True)
            await answering
        except asyncio.CancelledError:
            if (task := asyncio.current_task()) is not None and task.cancelling():
                raise  # else its client has gone
        except Exception as error:  # noqa: BLE001  nothing has been sent yet
            shown = _api_error(error)
            await JSONResponse(shown.body, shown.status, shown.headers)(scope, receive, send)
        return None

    async def _routed(
        self, scope: Scope, body: bytes, caller: Caller, receive: Receive, send: Send
    ) -> None:
        path, document = scope["path"], parsed(body)
        if path.startswith("/v1/") and not path.endswith("/frames"):
            self._require_rate(caller)
        key = key_of(scope["method"], path, document)
        request = Request(_plain(scope), body, key.stream_id, is_owners=key.kind is Kind.OWNER)
        is_merged = key.kind is Kind.ALL and (
            document.get("stream") is not True or len(self._parts(request)) > 1
        )
        if key.kind is Kind.HERE or is_merged:
            here = self._here if key.kind is Kind.HERE else self._merged
            with self._listeners.held(caller.holder) if path == "/v1/events" else nullcontext():
                response = await here(request, caller)
                await response(scope, receive, send)
            return
        if key.kind is Kind.ALL:
            request = self._parts(request).popitem()[1]
        elif key.alert is not None:
            request.stream_id = key.stream_id or await self._stream_of(key.alert, request)
        if request.stream_id == ALL:  # whichever worker notes it reports it to the others
            request.stream_id = min(self._members.streams, default=None)
        await self._relay.answer(request, send)

    async def _here(self, request: Request, caller: Caller) -> Response:
        path = request.scope["path"]
        if path == "/health":
            return JSONResponse({"status": "ok"})
        if path != "/v1/events":
            return PlainTextResponse(_NO_PAGE)
        query = dict(parse_qsl(request.scope["query_string"].decode("latin-1")))
        last = dict(request.scope["headers"]).get(b"last-event-id")
        wanted = EventFilter(
            None if last is None else last.decode("latin-1"),
            *(query.get(name) for name in ("stream_id", "kind", "since")),
        )
        lines = wanted.lines(self.events, caller, self._zone)
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        return StreamingResponse(lines, media_type="text/event-stream", headers=headers)

    async def _merged(self, request: Request, caller: Caller) -> Response:
        """Return the merged answer of all workers that answer in time."""
        parts = self._parts(request)
        if parsed(request.body).get("stream") is True:
            return await self._found(request, parts)
        replies = await self._replies(parts)
        if refused := refusal(replies.values()):
            return refused.response
        if request.scope["path"] == "/metrics":
            texts = {at: one.body.decode() for at, one in replies.items() if one.status == 200}
            own = generate_latest(self._registry)
            return Response(own + merged_metrics(texts), media_type=CONTENT_TYPE_LATEST)
        return JSONResponse(self._whole(request, replies))

    async def _found(self, request: Request, parts: Mapping[str, Request]) -> Response:
        """Return an event stream of what all workers find, as they find it."""
        search = MergedSearch(parts, lambda worker, take: self._once.answer(parts[worker], take))

        async def lines() -> AsyncIterator[str]:
            try:
                async for line in search.events():
                    yield line
                yield event_of(self._whole(request, search.replies), "done")
            except ApiError as error:
                yield event_of(error.body)
            finally:
                search.end()
            yield DONE

        if refused := await search.begin():
            return refused.response
        return StreamingResponse(lines(), media_type="text/event-stream")

    def _whole(self, request: Request, replies: Mapping[str, Reply]) -> dict[str, Any]:
        """Return the merged document. Raises ApiError if no worker answered."""
        heard = {at: one for at, one in replies.items() if one.body and one.status // 100 == 2}
        there = {at: parsed(one.body) for at, one in heard.items()}
        if not there:
            raise ApiError(503, "no worker answers: try again shortly", "worker_lost")
        query = dict(parse_qsl(request.scope["query_string"].decode("latin-1")))
        limit = parsed(request.body).get("limit") or query.get("limit")
        missing = sorted(set(replies) - set(there))
        most = None if limit is None else int(limit)
        return merged(request.scope["path"], list(there.values()), missing, most, self._zone)

    def _parts(self, request: Request) -> dict[str, Request]:
        """Return each worker's part of the request: its share of the streams named, or all that it
        has. Raises ApiError.
        """
        document, workers = parsed(request.body), self._members.workers
        ids = document.get("stream_ids")
        if not workers:
            raise ApiError(503, "no worker answers: try again shortly", "worker_lost")
        if not isinstance(ids, list) or not ids or "*" in ids:
            return {worker: replace(request, at=worker, asked=workers) for worker in workers}
        of: dict[str, list[Any]] = {}
        for one in ids:
            of.setdefault(self._members.ranked(To(stream=str(one)))[0], []).append(one)
        bodies = {at: {**document, "stream_ids": own} for at, own in of.items()}
        return {
            at: replace(request, at=at, body=json.dumps(body).encode())
            for at, body in bodies.items()
        }

    async def _replies(self, parts: Mapping[str, Request]) -> dict[str, Reply]:
        """Return the replies by worker; a late one has no status."""
        replies = await asyncio.gather(*map(self._reply, parts.values()))
        return dict(zip(parts, replies, strict=True))

    async def _reply(self, request: Request) -> Reply:
        reply, is_long = Reply(), request.scope["path"] in _LONG
        with suppress(ApiError, TimeoutError):
            async with asyncio.timeout(None if is_long else _DEADLINE_S):
                await self._once.answer(request, reply.take)
                return reply
        return Reply()

    async def _stream_of(self, path: str, request: Request) -> str | None:
        """Return a stream that an alert is on, or `*`; any worker knows it. Raises ApiError."""
        wanted = {"method": "GET", "path": path, "raw_path": path.encode(), "query_string": b""}
        reply = Reply()
        await self._relay.answer(Request({**request.scope, **wanted}, b""), reply.take)
        ids = parsed(reply.body).get("stream_ids", [])
        return next((one for one in ids if one == ALL or one in self._members.streams), None)

    async def _converse(self, socket: WebSocket) -> None:
        """Each answer is a request to this ingress."""
        try:
            self._caller(socket.scope)
        except ApiError as error:
            return await socket.close(1008, str(error)[:120])
        return await converse(self.application, socket)

    async def _push_many(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Take frames from a WebSocket. Each frame is a call; they go one at a time."""
        socket = WebSocket(scope, receive, send)
        key = key_of("POST", scope["path"], {})
        try:
            if not self._caller(scope).may(Action.PUSH, key.stream_id):
                raise ApiError(403, "this key may not push here", "not_permitted")
            if not await self._is_watched(key.stream_id):
                raise ApiError(404, f"there is no stream {key.stream_id}", "stream_not_found")
        except ApiError as error:
            return await socket.close(1008, str(error)[:120])
        pushed = {**_plain({**scope, "method": "POST"}), "scheme": "http"}

        async def push(frame: bytes, captured_at: str | None) -> dict[str, Any]:
            headers = [*pushed["headers"], (b"content-type", b"image/jpeg")]
            if captured_at is not None:
                headers.append((b"x-capture-time", captured_at.encode("latin-1", "replace")))
            reply = Reply()
            call = Request({**pushed, "headers": headers}, frame, key.stream_id, is_owners=True)
            await self._relay.answer(call, reply.take)
            return parsed(reply.body)

        return await take_frames(socket, push)

    async def _is_watched(self, stream_id: str | None) -> bool:
        """Whether a worker reports the stream; waits a little, as a new one is reported late."""
        give_up_at = time.monotonic() + _UNHEARD_S
        while self._members.owner(stream_id) is None and time.monotonic() < give_up_at:
            await asyncio.sleep(_LOOK_S)
        return self._members.owner(stream_id) is not None

    def _caller(self, scope: Scope) -> Caller:
        header = dict(scope["headers"]).get(b"authorization")
        caller = self._keys.check(None if header is None else header.decode("latin-1"))
        if caller is None and scope["path"].startswith("/v1/"):
            raise no_key()
        return caller or Caller("anyone", can=frozenset())

    def _require_rate(self, caller: Caller) -> None:
        if wait_s := self._limit.wait_s(caller.name):
            headers = {"Retry-After": str(max(1, round(wait_s)))}
            raise ApiError(429, "too many requests: wait a little", "rate_limited", headers=headers)


def _plain(scope: Scope) -> dict[str, Any]:
    """Return the parts of a scope that a worker needs, without what the ingress has dealt with."""
    names = ("method", "path", "raw_path", "query_string", "scheme", "http_version")
    headers = [(name, value) for name, value in scope["headers"] if name not in _KEPT_BACK]
    needed = {name: scope[name] for name in names}
    return {"type": "http", "asgi": {"version": "3.0"}, **needed, "headers": headers}


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        continue


def _api_error(error: Exception) -> ApiError:
    if isinstance(error, HTTPException):
        return ApiError(error.status_code, str(error.detail), "body_too_large")
    return api_error(error)
