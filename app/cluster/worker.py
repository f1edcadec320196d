"""StreamWorker: runs a service in one of many processes, called by ingresses instead of by HTTP."""

import asyncio
import time
from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, suppress
from math import inf
from typing import Any

import structlog
from anyio import to_thread
from prometheus_client import Counter

from app.cluster.key_of import named, parsed
from app.cluster.membership import Membership, To
from app.cluster.ownership import free_since, to_give, to_take
from app.cluster.relay import BEAT_S, WINDOW, is_answer
from app.cluster.scaling import load_of
from app.server.api_errors import ApiError
from app.server.application import create_app
from app.server.ask_request import NamedStream, parse_stream_url
from app.server.asking import pinned, seen_by
from app.server.attempt import KEY
from app.server.keys import ApiKeys
from app.server.own_request import messages_of
from app.server.service import Phase, Service
from app.server.settings import ServiceSettings
from app.server.sse import with_pauses
from memory import KVMemoryError
from vstream.errors import VStreamError
from vstream.service.stream_notes import StreamNote

_log = structlog.get_logger()
_LOOK_S = 0.5
"""How often to look in the store for streams that nobody watches."""
_GIVE_S = 10.0
"""How often a stream moves while loads are uneven."""
_AGAIN_S = 5.0
"""How long to wait before trying again a stream that could not be opened."""
_STUCK_S = 30.0
_SETTLE_S = 8.0
"""How long a list waits for streams that are changing workers."""
_UNREAD_S = 120.0
"""A call is given up if its client reads nothing for this long."""
_BACK_S = 3.0
"""While a store is away all leases end. How long to leave streams to those who renew theirs."""
_SOON_S = 0.1
_AT_ONCE = 8
"""Streams that are opened or closed side by side."""


class StreamWorker:
    """One model on one device, and the streams that it watches."""

    def __init__(
        self, settings: ServiceSettings, keys: ApiKeys, name: str, members: Membership
    ) -> None:
        """`members` are all workers, itself among them."""
        self.name = name
        self._members = members
        self.service = Service(settings, keys, is_one_of_many=True)
        self._app = create_app(self.service)
        self._routed = Counter(
            "vstream_routed",
            "Calls about a stream, by who took them.",
            ["to"],
            registry=self.service.metrics.registry,
        )
        self._life = self._app.router.lifespan_context(self._app)
        self._credits: dict[str, asyncio.Semaphore] = {}
        """By call, how many messages it may still send ahead of its reader."""
        self._reconciling: asyncio.Task[None] | None = None
        self._opening: set[str] = set()
        self._failed: dict[str, float] = {}
        """Streams that cannot be opened here, such as another model's, with when that was tried."""
        self._free: dict[str, float] = {}
        self._missed_at = -inf
        """When the store last could not be read."""
        self._unlisted: dict[str, float] = {}
        """Streams that no worker reports, with when that was first seen."""
        self._given: set[str] = set()
        self._gave_at = time.monotonic()
        self._was_named = False
        self._threads = ThreadPoolExecutor(_AT_ONCE, "adopt")
        self._looked_at = time.monotonic()

    async def begin(self) -> None:
        """Return once the model is loaded. Raises whatever keeps the service from starting."""
        await self._life.__aenter__()
        while self.service.phase is Phase.LOADING:
            await asyncio.sleep(0.05)
        if self.service.failure is not None:
            raise self.service.failure
        self._reconciling = asyncio.create_task(self._reconcile())

    async def end(self) -> None:
        """Give the streams away, and release everything."""
        if self._reconciling is not None:
            self._reconciling.cancel()
        self._threads.shutdown(cancel_futures=True)
        if self.service.phase is Phase.READY:
            await self._give(self.streams)
        await self._life.__aexit__(None, None, None)

    @property
    def streams(self) -> list[str]:
        """The streams that it writes."""
        keepers = self.service.loaded.streams.all()
        return [keeper.spec.id for keeper in keepers if not keeper.is_taken]

    @property
    def load(self) -> float:
        """See `load_of`."""
        most, answers = self.service.settings.service, self.service.answering.num
        return load_of(len(self.streams), most.max_streams, answers, most.max_running)

    def check_health(self) -> None:
        """Raises RuntimeError if the worker is stuck, for example when its device hangs."""
        if time.monotonic() - self._looked_at > _STUCK_S or self.service.failure is not None:
            raise RuntimeError(f"worker {self.name} is stuck")

    def acknowledge(self, to: To, call_id: str, num: int) -> None:
        """Note that `num` more messages of a call have been read."""
        for _ in range(num if call_id in self._credits else 0):
            self._credits[call_id].release()

    async def asgi(self, to: To, call: Mapping[str, Any]) -> AsyncGenerator[dict[str, Any], None]:
        """Yield the service's answer as ASGI messages. First comes `vstream.accepted`, which pins
        the moments of the question, and `vstream.beat` fills every pause. If another worker watches
        the stream, or will, `vstream.not_mine` comes alone.
        """
        credit = self._credits[call["id"]] = asyncio.Semaphore(WINDOW)
        messages = with_pauses(self._messages(call), BEAT_S)
        try:
            async for message in messages:
                async with asyncio.timeout(_UNREAD_S):
                    await credit.acquire()
                yield {"type": "vstream.beat"} if message is None else dict(message)
        finally:
            del self._credits[call["id"]]

    async def _is_others(self, stream_id: str | None) -> bool:
        """Whether another worker watches the stream, or should."""
        if stream_id is None or stream_id in self._failed or stream_id in self.streams:
            return False
        return bool(await to_thread.run_sync(self.service.loaded.streams.spec_of, stream_id))

    async def _messages(self, call: Mapping[str, Any]) -> AsyncGenerator[Mapping[str, Any], None]:
        stream_id, scope = call["stream"], dict(call["scope"])
        is_owners = call["is_owners"]
        streams: Sequence[NamedStream] = ()
        if is_answer(scope):
            streams = await to_thread.run_sync(self._streams_of, call)
            if stream_id is None and streams:  # the body does not name it
                stream_id, is_owners = streams[0].stream_id, True
        not_mine = {"type": "vstream.not_mine", "stream": stream_id}
        if is_owners and await self._is_others(stream_id):
            yield not_mine
            return
        if (asked := call.get("asked")) and scope["path"] != "/metrics":
            await self._settle(asked)
        elif scope["path"].startswith(("/v1/alerts", "/v1/watches")):
            await to_thread.run_sync(self._look)
        if is_answer(scope) and "spans" not in scope[KEY]:
            spans = await to_thread.run_sync(pinned, self.service, streams)
            dumped = {stream_id: span.model_dump() for stream_id, span in spans.items()}
            scope[KEY] = {**scope[KEY], "spans": dumped}
        if stream_id is not None and not call["is_owners"]:
            self._routed.labels("owner" if stream_id in self.streams else "other").inc()
        yield {"type": "vstream.accepted", "worker": self.name, "attempt": scope.get(KEY)}
        async with aclosing(messages_of(self._app, scope, call["body"])) as messages:
            async for message in messages:
                is_refused = message.get("status", 0) // 100 == 4
                if is_owners and is_refused and await self._is_others(stream_id):
                    yield not_mine  # it was given away meanwhile
                    return
                yield message

    def _streams_of(self, call: Mapping[str, Any]) -> Sequence[NamedStream]:
        """Return the streams that a question is about; none for a malformed one, which the service
        will refuse.
        """
        header = dict(call["scope"]["headers"]).get(b"authorization", b"").decode("latin-1")
        with suppress(ApiError, AttributeError, TypeError, ValueError, KVMemoryError):
            document = parsed(call["body"])
            if streams := [parse_stream_url(url) for url in named(document)]:
                return streams
            previous = self.service.responses.find(str(document.get("previous_response_id")))
            if previous is not None:
                return previous.request.streams
            if (caller := self.service.keys.check(header)) is not None:
                seen = seen_by(self.service, caller)
                return seen if len(seen) == 1 else ()
        return ()

    async def _reconcile(self) -> None:
        """Watch the streams that nobody watches and that are this worker's turn."""
        while True:
            self._looked_at = time.monotonic()
            try:
                await self._give(self._taken())
                await (self._give(self.streams) if self._is_leaving() else self._take())
            except (VStreamError, KVMemoryError) as error:
                self._missed_at = time.monotonic()
                _log.warning("no streams taken", reason=str(error))
            await asyncio.sleep(_LOOK_S)

    def _is_leaving(self) -> bool:
        """Whether Serve has dropped this worker from its list: it only ends its answers now."""
        is_named = self.name in self._members.reported
        self._was_named |= is_named
        return self._was_named and not is_named

    def _taken(self) -> list[str]:
        """Return streams that others took while this worker was stopped or without the store."""
        keepers = self.service.loaded.streams.all()
        return [keeper.spec.id for keeper in keepers if keeper.is_taken]

    async def _give(self, stream_ids: Sequence[str]) -> None:
        """Give streams away, a few at a time, as each waits for the device's turn; stop at the
        first failure, as when the store is down.
        """
        for first in range(0, len(stream_ids), _AT_ONCE):
            self._looked_at = time.monotonic()
            together = map(self._release, stream_ids[first : first + _AT_ONCE])
            if not all(await asyncio.gather(*together)):
                return

    async def _release(self, stream_id: str) -> bool:
        try:
            await to_thread.run_sync(self.service.loaded.streams.release, stream_id)
        except (VStreamError, KVMemoryError) as error:
            _log.error("not all was kept", stream=stream_id, reason=str(error))
            return False
        return True

    async def _settle(self, asked: Collection[str]) -> None:
        """Wait until each stream that should be watched is in the list of one of the workers
        `asked`; not for long, and not for those that nobody has watched for long.
        """
        give_up_at = time.monotonic() + _SETTLE_S
        while (now := time.monotonic()) < give_up_at:
            known = await to_thread.run_sync(self._look)
            unlisted = self._unlisted_of(known, asked, now)
            if not self._opening and all(now - at > _SETTLE_S for at in unlisted.values()):
                return
            await asyncio.sleep(_SOON_S)

    def _unlisted_of(
        self, known: Mapping[str, StreamNote], asked: Collection[str], now: float
    ) -> dict[str, float]:
        reported = set[str]().union(*(self._members.reported.get(one, ()) for one in asked))
        listed = {one for one, note in known.items() if note.is_live} & reported
        wanted = {one for one, note in known.items() if note.is_wanted}
        unlisted = wanted - listed - self._failed.keys() - set(self.streams)
        self._unlisted = free_since(self._unlisted, unlisted, now)
        return self._unlisted

    async def _take(self) -> None:
        streams, now = self.service.loaded.streams, time.monotonic()
        await to_thread.run_sync(self._await_turn)
        known = await to_thread.run_sync(self._look)
        self._unlisted_of(known, self._members.workers, now)
        wanted = {one for one, note in known.items() if note.is_wanted and not note.is_live}
        if now < self._missed_at + _BACK_S:
            wanted.clear()
        self._failed = {one: at for one, at in self._failed.items() if now - at < _AGAIN_S}
        free = wanted - self._opening - self._failed.keys()
        self._free = free_since(self._free, free, now)
        room = self.service.settings.service.max_streams - len(self.streams) - len(self._opening)
        others = self._members.workers
        for stream_id in to_take(self.name, self._free, others, room, now, self._given):
            self._opening.add(stream_id)
            self._threads.submit(self._adopt, stream_id)
        mine, reported = dict.fromkeys(self.streams, 1.0), self._members.reported
        self._given &= self._free.keys()
        if now - self._gave_at > _GIVE_S and mine.keys() == reported.get(self.name):
            self._gave_at = now
            loads = {worker: float(len(ids)) for worker, ids in reported.items()}
            if given := to_give(self.name, loads, mine):
                self._given.add(given)
                await to_thread.run_sync(streams.release, given)

    def _await_turn(self) -> None:
        """A device that hangs keeps its turn and blocks this: see `check_health`."""
        with self.service.loaded.model.turn:
            pass

    def _look(self) -> dict[str, StreamNote]:
        """Return what is stored."""
        loaded = self.service.loaded
        known = loaded.streams.known()
        loaded.alerts.follow(known)
        return known

    def _adopt(self, stream_id: str) -> None:
        try:
            self.service.loaded.streams.adopt(stream_id)
        except (VStreamError, KVMemoryError, ApiError) as error:
            self._failed[stream_id] = time.monotonic()
            _log.warning("stream not taken", stream=stream_id, reason=str(error))
        finally:
            self._opening.discard(stream_id)
