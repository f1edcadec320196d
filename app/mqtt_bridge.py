"""The MQTT bridge keeps a broker up to date with the streams and alerts of a service.

A table (`app/mqtt_topics.py`) says what the broker should hold. The bridge makes a new table when
something happens at the service, and publishes whatever the broker has not confirmed, one message
at a time. Nothing queues, and a picture is fetched only when its turn comes. So a slow or absent
broker takes up no memory, and a broker that has lost everything gets it again.
"""

import asyncio
import json
import signal
import ssl
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Self
from urllib.parse import unquote, urlsplit

import aiomqtt
import httpx
import structlog

from app.client import ServiceClient
from app.mqtt_topics import OFF, OFFLINE, ON, ONLINE, Content, Names, Picture, contents
from app.mqtt_topics import newest_firings as newest_of
from app.server.documents import AlertDocument, StreamDocument
from app.server.keys import Action
from app.server.service_log import log_to_stderr
from vstream.errors import SettingsError

_log = structlog.get_logger()
_LOOK_S = 5.0
"""How often to poll the service for what no event reports, such as new alerts and pictures."""
_PAUSE_S = 0.1
_AGAIN_S = 1.0
_ON_S = 30.0
"""How long an alert stays on after it has fired."""
_REQUEST_S = 30.0
_FAREWELL_S = 2.0
_MOST_INCOMING = 1000
_CHANGES = ("stream.", "alert.", "memory.", "gap")
"""Prefixes of the kinds of events that change what is published."""


@dataclass(frozen=True)
class Broker:
    """The address and login of an MQTT broker."""

    host: str
    port: int
    user: str | None
    password: str | None = field(repr=False)
    is_encrypted: bool = False

    @classmethod
    def parse(cls, url: str, password: str | None) -> Self:
        """Parse mqtt://USER@HOST:PORT, or mqtts:// for TLS. Raises SettingsError."""
        wanted = "broker: write mqtt://USER@HOST:PORT or mqtts://USER@HOST:PORT"
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            raise SettingsError(wanted) from None
        if parts.scheme not in ("mqtt", "mqtts") or not parts.hostname or parts.path not in "/":
            raise SettingsError(wanted)
        if parts.password is not None:
            raise SettingsError("broker: put its password into VSTREAM_MQTT_PASSWORD")
        is_encrypted = parts.scheme == "mqtts"
        user = None if parts.username is None else unquote(parts.username)
        port = port or (8883 if is_encrypted else 1883)
        return cls(parts.hostname, port, user, password, is_encrypted)


class MqttBridge:
    """Serves one service and one broker, in one event loop."""

    def __init__(
        self, service: str, key: str | None, broker: Broker, names: Names, picture_s: float
    ) -> None:
        """`service` is an address; `picture_s` is the least time between two pictures."""
        self._broker, self._names, self._picture_s = broker, names, picture_s
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._http = httpx.AsyncClient(
            base_url=service, headers=headers, timeout=_REQUEST_S, trust_env=False
        )
        self._streams: dict[str, StreamDocument] = {}
        self._shown: dict[str, tuple[float, float]] = {}
        """The time of each stream's picture, and when it was chosen (`time.monotonic`)."""
        self._stale: set[str] = set()
        """Streams whose picture may show what was forgotten."""
        self._fired: dict[tuple[str, str], int] | None = None
        """The newest firing of each alert on each stream; None until the first look."""
        self._on_until: dict[tuple[str, str], float] = {}
        self._table: dict[str, Content] = {names.status: OFFLINE}
        self._held: dict[str, Content | None] = {}
        """What the broker has confirmed; None: something that an earlier run published."""
        self._is_broker_there = True
        self._wake, self._changed = asyncio.Event(), asyncio.Event()

    async def run(self) -> None:
        """Run until cancelled, then publish that nobody keeps the topics up to date."""
        async with self._http, asyncio.TaskGroup() as tasks:
            for work in (self._listen, self._watch, self._serve):
                tasks.create_task(work())

    async def _listen(self) -> None:
        """Wake the polling task whenever the service sends an event."""
        while True:
            with suppress(httpx.HTTPError, ValueError):  # `_watch` logs what is wrong
                async with self._http.stream("GET", "/v1/events") as response:
                    response.raise_for_status()
                    self._wake.set()
                    async for line in response.aiter_lines():
                        if line.startswith("data: {"):
                            self._take(json.loads(line[6:]))
            await asyncio.sleep(_AGAIN_S)

    def _take(self, event: Mapping[str, Any]) -> None:
        if event["type"].startswith(_CHANGES):
            self._wake.set()
        if event["type"] in ("memory.forgotten", "stream.deleted"):
            self._stale.add(event["stream_id"])

    async def _watch(self) -> None:
        """Poll the service, at intervals and on every event."""
        is_there = True
        while True:
            self._wake.clear()
            wait_s = min(_LOOK_S, self._picture_s)
            try:
                await self._look()
                is_there = True
            except (httpx.HTTPError, ValueError, KeyError) as error:
                wait_s = _AGAIN_S
                self._table = {**self._table, self._names.status: OFFLINE}
                if is_there:
                    _log.warning("service away", why=_first_line(error))
                is_there = False
            self._changed.set()
            with suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._wake.wait()
            await asyncio.sleep(_PAUSE_S)

    async def _look(self) -> None:
        """Poll once, and make the table. Raises httpx.HTTPError, ValueError, KeyError."""
        while self._stale:  # before the requests: what arrives meanwhile counts for the next poll
            self._shown.pop(self._stale.pop(), None)
        lists = [await self._get(f"/v1/{name}") for name in ("streams", "alerts")]
        if any("incomplete" in one for one in lists):  # a worker of a cluster is away
            return
        streams = [StreamDocument.model_validate(one) for one in lists[0]["data"]]
        alerts = [AlertDocument.model_validate(one) for one in lists[1]["data"]]
        self._streams = {one.id: one for one in streams}
        now = time.monotonic()
        self._shown = {one.id: self._picture_of(one, now) for one in streams if _has_picture(one)}
        fired = {ids: firing.id for ids, firing in newest_of(streams, alerts)}
        if self._fired is not None:
            known = self._fired
            new = {ids for ids, firing_id in fired.items() if firing_id > known.get(ids, 0)}
            self._on_until |= dict.fromkeys(new, now + _ON_S)
        self._fired = fired
        self._on_until = {ids: until for ids, until in self._on_until.items() if until > now}
        shown_at = {stream_id: at for stream_id, (at, _) in self._shown.items()}
        self._table = contents(self._names, streams, alerts, shown_at, self._on_until.keys())

    def _picture_of(self, stream: StreamDocument, now: float) -> tuple[float, float]:
        """Return the time of the picture to show, and when it was chosen."""
        before = self._shown.get(stream.id)
        if before is not None and now < before[1] + self._picture_s:
            return before
        return stream.last_frame_at or stream.memory.to_s, now

    async def _get(self, path: str) -> Any:
        response = await self._http.get(path)
        response.raise_for_status()
        return response.json()

    async def _serve(self) -> None:
        """Connect to the broker, again and again."""
        while True:
            try:
                await asyncio.create_task(self._serve_one())
            except* (aiomqtt.MqttError, OSError) as errors:
                if self._is_broker_there:
                    _log.warning("broker away", why=_first_line(errors.exceptions[0]))
                self._is_broker_there = False
            _end_if_cancelled()
            await asyncio.sleep(_AGAIN_S)

    def _connection(self) -> aiomqtt.Client:
        broker = self._broker
        return aiomqtt.Client(
            broker.host,
            broker.port,
            username=broker.user,
            password=broker.password,
            tls_context=ssl.create_default_context() if broker.is_encrypted else None,
            will=aiomqtt.Will(self._names.status, OFFLINE, qos=1, retain=True),
            max_queued_incoming_messages=_MOST_INCOMING,
            timeout=_REQUEST_S,
        )

    async def _serve_one(self) -> None:
        """Keep the broker up to date over one connection."""
        async with self._connection() as client:
            _log.info("connected", broker=self._broker.host, port=self._broker.port)
            self._is_broker_there = True
            self._held = {}
            self._changed.set()
            try:
                for topic in (self._names.devices, self._names.birth, self._names.commands):
                    await client.subscribe(topic, qos=1)
                _end_if_cancelled()
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(self._publish(client))
                    tasks.create_task(self._hear(client))
            except asyncio.CancelledError:
                with suppress(aiomqtt.MqttError):
                    status = self._names.status
                    await client.publish(status, OFFLINE, qos=1, retain=True, timeout=_FAREWELL_S)
                raise

    async def _publish(self, client: aiomqtt.Client) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            gone = set() if self._fired is None else self._held.keys() - self._table.keys()
            # Devices go last: their messages name what else there is to clear.
            for topic in [*self._table, *sorted(gone, key=self._names.is_device)]:
                await self._publish_one(client, topic)
                _end_if_cancelled()

    async def _publish_one(self, client: aiomqtt.Client, topic: str) -> None:
        """Publish what the table has for the topic now, unless the broker holds it."""
        wanted = self._table.get(topic, "")
        if self._held.get(topic, "") == wanted:
            return
        payload = await self._picture(wanted) if isinstance(wanted, Picture) else wanted
        if payload is None:
            return
        await client.publish(topic, payload, qos=1, retain=True)
        self._held[topic] = wanted
        if wanted == "":
            del self._held[topic]

    async def _picture(self, wanted: Picture) -> bytes | None:
        """Return a picture; empty if it is no longer kept, None if the service does not answer."""
        try:
            response = await self._http.get(wanted.path)
        except httpx.HTTPError:
            return None
        if response.status_code == 404:
            return b""
        return response.content if response.is_success else None

    async def _hear(self, client: aiomqtt.Client) -> None:
        async for message in client.messages:
            topic, payload = message.topic.value, message.payload
            text = payload.decode(errors="replace") if isinstance(payload, bytes) else ""
            if topic == self._names.birth:
                if text == ONLINE:
                    self._held = dict.fromkeys(self._held)
            elif message.topic.matches(self._names.commands):
                if not message.retain:  # a retained command would be obeyed at every start
                    await self._command(self._names.commanded(topic), text)
            elif message.retain:
                for one in self._names.announced_by(topic, text):
                    self._held.setdefault(one, None)
            self._changed.set()

    async def _command(self, stream_id: str, text: str) -> None:
        """Pause or resume a stream, if the key allows it."""
        stream = self._streams.get(stream_id)
        if stream is None or Action.MANAGE not in stream.can or text not in (ON, OFF):
            _log.warning("command ignored", stream=stream_id)
            return
        action = "pause" if text == ON else "resume"
        try:
            response = await self._http.post(f"/v1/streams/{stream_id}/{action}")
            response.raise_for_status()
        except httpx.HTTPError as error:
            _log.warning("command failed", stream=stream_id, why=_first_line(error))
        self._wake.set()


def _end_if_cancelled() -> None:
    """Raise the CancelledError that aiomqtt may have lost: before Python 3.12 its `wait_for` can.
    Only call it in a task in which no TaskGroup has failed, because that too counts as cancelling.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


def _has_picture(stream: StreamDocument) -> bool:
    return stream.last_frame_at is not None or stream.memory.blocks > 0


def _first_line(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"


def serve_mqtt(
    service: str, key: str | None, broker: Broker, names: Names, picture_s: float
) -> None:
    """Run the bridge until SIGTERM or SIGINT. Raises ServiceError for an invalid address."""
    ServiceClient(service, key).close()
    log_to_stderr()
    bridge = MqttBridge(service, key, broker, names, picture_s)
    asyncio.run(_until_signal(bridge))


async def _until_signal(bridge: MqttBridge) -> None:
    running = asyncio.ensure_future(bridge.run())
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, running.cancel)
    with suppress(asyncio.CancelledError):
        await running
