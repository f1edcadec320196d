"""/v1/realtime: OpenAI's realtime events over a WebSocket; text and pictures in, text out.

Each answer is a request to /v1/responses of the same application, so keys, limits and rates hold,
and several workers answer like one. A session may be about a stream (`?stream=ID`). Pictures are
then its next frames, if it is of type `push`; else they come with the question.
"""

import asyncio
import base64
import binascii
import json
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import aclosing, suppress
from typing import Annotated, Any, Literal, TypeVar
from urllib.parse import quote

from fastapi import APIRouter, WebSocket, WebSocketDisconnect
from pydantic import BaseModel, BeforeValidator, Field, ValidationError
from pydantic_core import PydanticCustomError
from starlette.types import ASGIApp

from app.server.api_errors import UNSUPPORTED, ApiError, api_error, invalid_value
from app.server.messages import ImagePart, InputMessage, Words
from app.server.own_request import answered, events

_MOST_ITEMS = 500
_MOST_BYTES = 32_000_000
"""Of the text and pictures of a conversation."""
_MOST_RUNNING = 8
_UNSEEN_S, _LOOK_S = 10.0, 0.05
"""How long a question waits for pushed pictures to be encoded, and how often it looks."""
_JPEG = "data:image/jpeg;base64,"
_NO_AUDIO = "audio is not supported here, only text and pictures"
_AUDIO = ("input_audio_buffer.", "output_audio_buffer.", "conversation.item.truncate")
_PASSED_ON = {
    f"response.{kind}"
    for kind in (
        *("output_item.added", "output_item.done", "content_part.added", "content_part.done"),
        *("output_text.delta", "output_text.done"),
    )
}
_ENDS = {f"response.{how}" for how in ("completed", "incomplete", "failed", "cancelled")}
router = APIRouter(prefix="/v1", tags=["questions"])


@router.websocket("/realtime")
async def realtime(socket: WebSocket) -> None:
    await converse(socket.app, socket)


async def converse(app: ASGIApp, socket: WebSocket) -> None:
    """Serve one connection to its end; `app` answers."""
    await socket.accept()
    session = _Session(app, socket)
    try:
        await session.begin()
        while (message := await socket.receive())["type"] != "websocket.disconnect":
            await session.take(message.get("text") or "")
    except (WebSocketDisconnect, RuntimeError):  # the client has gone
        return
    finally:
        await session.close()


def _require_text(given: Any) -> Any:
    if given not in (None, ["text"]):
        raise PydanticCustomError(UNSUPPORTED, _NO_AUDIO)
    return given


_TextOnly = Annotated[Any, BeforeValidator(_require_text)]


class _Wishes(BaseModel):
    """Fields of both a session and a response; others are ignored."""

    output_modalities: _TextOnly = None
    audio: _TextOnly = None
    instructions: Words | None = None
    max_output_tokens: Annotated[int, Field(ge=1)] | Literal["inf"] | None = None


class _SessionUpdate(_Wishes):
    stream: Annotated[str, Field(max_length=200)] | None = None


class _Item(InputMessage):
    id: str = Field(default_factory=lambda: f"item_{secrets.token_hex(12)}", max_length=100)

    @property
    def num_bytes(self) -> int:
        return len(self.model_dump_json())

    @property
    def document(self) -> dict[str, Any]:
        """The item as clients see it, without pictures, which they have."""
        shown = self.model_dump(exclude={"content": {"__all__": {"image_url", "video_url"}}})
        return {**shown, "object": "realtime.item", "status": "completed"}


class _ResponseCreate(_Wishes):
    conversation: Literal["auto", "none"] = "auto"
    input: list[_Item] | None = Field(None, max_length=_MOST_ITEMS)
    metadata: dict[str, Any] | None = None


_Parsed = TypeVar("_Parsed", bound=BaseModel)


class _Session:
    """One conversation: its items, and the responses that are being written."""

    def __init__(self, app: ASGIApp, socket: WebSocket) -> None:
        self._app, self._socket = app, socket
        self._id = f"sess_{secrets.token_hex(12)}"
        self._model = socket.query_params.get("model") or "default"
        self._stream_id: str | None = None
        self._path, self._takes_frames = "", False
        self._pushed_s: float | None = None
        """Stream time of the newest picture pushed."""
        self._wishes = _Wishes()
        self._items: dict[str, _Item] = {}
        self._bytes: dict[str, int] = {}
        self._running: dict[str, asyncio.Task[None]] = {}
        """What writes responses, by a name of its own."""
        self._responses: dict[str, str] = {}
        """Their ids, by the same name, once they are known."""
        self._turn = ""
        """The name of the conversation's own response, the newest."""

    async def begin(self) -> None:
        try:
            await self._bind(self._socket.query_params.get("stream"))
        except ApiError as error:
            await self._report(error, None)
        await self._send("session.created", session=self._document)

    async def take(self, text: str) -> None:
        """Do what a client's event asks for; what is wrong with it is an `error` event."""
        event_id = None
        try:
            event = _event(text)
            event_id, kind = event.get("event_id"), event["type"]
            if kind.startswith(_AUDIO):
                raise _invalid(f"{kind}: {_NO_AUDIO}", "type")
            if kind not in self._handlers:
                raise _invalid(f"unknown event type {kind[:80]!r}", "type")
            await self._handlers[kind](event)
        except ApiError as error:
            await self._report(error, event_id)

    async def close(self) -> None:
        running = list(self._running.values())
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    @property
    def _handlers(self) -> Mapping[str, Callable[[dict[str, Any]], Awaitable[None]]]:
        return {
            "session.update": self._update,
            "conversation.item.create": self._create_item,
            "conversation.item.retrieve": self._retrieve_item,
            "conversation.item.delete": self._delete_item,
            "response.create": self._create_response,
            "response.cancel": self._cancel_response,
        }

    @property
    def _document(self) -> dict[str, Any]:
        return {
            "type": "realtime",
            "object": "realtime.session",
            "id": self._id,
            "model": self._model,
            "output_modalities": ["text"],
            "instructions": self._wishes.instructions or "",
            "max_output_tokens": self._wishes.max_output_tokens or "inf",
            "stream": self._stream_id,
        }

    async def _update(self, event: dict[str, Any]) -> None:
        wanted = _parsed(_SessionUpdate, event.get("session"))
        if "stream" in wanted.model_fields_set:
            await self._bind(wanted.stream)
        given = wanted.model_dump(include={"instructions", "max_output_tokens"}, exclude_none=True)
        self._wishes = self._wishes.model_copy(update=given)
        await self._send("session.updated", session=self._document)

    async def _bind(self, stream_id: str | None) -> None:
        """Raises ApiError if this key sees no such stream."""
        path, takes_frames = "", False
        if stream_id is not None:
            path = f"/v1/streams/{quote(stream_id, safe='')}"
            stream = await answered(self._app, self._socket.scope, path)
            takes_frames = stream["source"]["type"] == "push"
        self._stream_id, self._path, self._takes_frames = stream_id, path, takes_frames
        self._pushed_s = None

    async def _create_item(self, event: dict[str, Any]) -> None:
        item = _parsed(_Item, event.get("item"))
        if len(self._items) >= _MOST_ITEMS:
            raise _invalid(f"the conversation has {_MOST_ITEMS} items: delete some", "item")
        if item.role == "user" and self._takes_frames:
            await self._push_pictures(item)
        self._keep(item)
        before = next(reversed([one for one in self._items if one != item.id]), None)
        for kind in ("conversation.item.added", "conversation.item.done"):
            await self._send(kind, previous_item_id=before, item=item.document)

    def _keep(self, item: _Item) -> None:
        """Raises ApiError if the conversation would be too large."""
        sizes = {**self._bytes, item.id: item.num_bytes}
        if sum(sizes.values()) > _MOST_BYTES:
            raise _invalid(f"the conversation has more than {_MOST_BYTES} bytes: delete some")
        self._items[item.id], self._bytes = item, sizes

    async def _push_pictures(self, item: _Item) -> None:
        """Make frames of an item's pictures, and take them out of it: the stream remembers them."""
        parts = item.content if isinstance(item.content, list) else []
        for part in [one for one in parts if isinstance(one, ImagePart)]:
            url = part.image_url.url
            if not url.startswith(_JPEG):
                raise _invalid(f"a stream takes JPEG pictures: {_JPEG}...", "image_url")
            try:
                jpeg = base64.b64decode(url.removeprefix(_JPEG), validate=True)
            except binascii.Error as error:
                raise _invalid("the picture is no valid base64", "image_url") from error
            pushed = await answered(self._app, self._socket.scope, f"{self._path}/frames", jpeg)
            if pushed["accepted"]:
                self._pushed_s = pushed["stream_s"]
            parts.remove(part)

    async def _until_seen(self) -> None:
        """Wait for what was pushed to be encoded: the question may be about it."""
        give_up_at = time.monotonic() + _UNSEEN_S
        while self._pushed_s is not None and time.monotonic() < give_up_at:
            stream = await answered(self._app, self._socket.scope, self._path)
            if stream["memory"]["blocks"] and stream["stream_s"] >= self._pushed_s:
                return
            await asyncio.sleep(_LOOK_S)

    async def _retrieve_item(self, event: dict[str, Any]) -> None:
        await self._send("conversation.item.retrieved", item=self._item(event).document)

    async def _delete_item(self, event: dict[str, Any]) -> None:
        item_id = self._item(event).id
        del self._items[item_id], self._bytes[item_id]
        await self._send("conversation.item.deleted", item_id=item_id)

    def _item(self, event: dict[str, Any]) -> _Item:
        item = self._items.get(str(event.get("item_id")))
        if item is None:
            raise ApiError(404, "there is no such item", "item_not_found", param="item_id")
        return item

    async def _create_response(self, event: dict[str, Any]) -> None:
        wanted = _parsed(_ResponseCreate, event.get("response") or {})
        is_apart = wanted.conversation == "none"
        if not is_apart and self._turn in self._running:
            why = "a response is being written: cancel it, or ask with `conversation: none`"
            raise ApiError(409, why, "conversation_already_has_active_response")
        if len(self._running) >= _MOST_RUNNING:
            raise ApiError(429, f"{_MOST_RUNNING} responses are being written", "busy")
        items = self._items.values() if wanted.input is None else wanted.input
        most = wanted.max_output_tokens or self._wishes.max_output_tokens
        request = {
            "model": self._model,
            "input": [self._asked(one) for one in items],
            "instructions": wanted.instructions or self._wishes.instructions,
            "metadata": wanted.metadata,
            "max_output_tokens": None if most == "inf" else most,
            "store": False,
            "stream": True,
        }
        name = secrets.token_hex(8)
        if not is_apart:
            self._turn = name
        writing = self._write(name, request, event.get("event_id"))
        self._running[name] = asyncio.ensure_future(writing)

    def _asked(self, item: _Item) -> dict[str, Any]:
        """Return an item as /v1/responses takes it, a user's with the stream that it is about."""
        message = item.model_dump(include={"type", "role", "content"})
        if isinstance(message["content"], list):
            message["content"] = [one for one in message["content"] if one.get("text") != ""]
            if item.role == "user" and self._stream_id is not None:
                url = f"stream://{quote(self._stream_id, safe='')}"
                message["content"].append({"type": "video_url", "video_url": {"url": url}})
        return message

    async def _write(self, name: str, request: dict[str, Any], event_id: Any) -> None:
        """Write one response; it ends with `response.done` or, refused, with an `error`."""
        answer = events(self._app, self._socket.scope, "/v1/responses", request)
        try:
            with suppress(WebSocketDisconnect, RuntimeError):  # the client has gone
                try:
                    await self._until_seen()
                    async with aclosing(answer):
                        async for event in answer:
                            await self._pass_on(name, event)
                except (ApiError, ValueError, KeyError) as error:
                    await self._report(api_error(error), event_id)
        finally:
            self._running.pop(name, None)
            self._responses.pop(name, None)

    async def _pass_on(self, name: str, event: dict[str, Any]) -> None:
        kind = event.get("type", "")
        if kind == "response.created":
            self._responses[name] = event["response"]["id"]
            await self._send(kind, response=_realtime(event["response"]))
        elif kind in _ENDS:
            response = _realtime(event["response"])
            if name == self._turn:
                with suppress(ApiError):  # there is no room for it
                    for item in response["output"]:
                        self._keep(_parsed(_Item, item))
            self._running.pop(name)  # the client may ask for the next at once
            await self._send("response.done", response=response)
        elif kind in _PASSED_ON:
            content = {**event, "response_id": self._responses[name]}
            if "part" in content:
                content["part"] = {"type": "text", "text": content["part"]["text"]}
            del content["type"], content["sequence_number"]
            await self._send(kind, **content)

    async def _cancel_response(self, event: dict[str, Any]) -> None:
        wanted = event.get("response_id") or self._responses.get(self._turn)
        if wanted not in self._responses.values():
            raise ApiError(404, "no such response is being written", "response_cancel_not_active")
        with suppress(ApiError):  # it has ended
            await answered(self._app, self._socket.scope, f"/v1/responses/{wanted}/cancel", {})

    async def _report(self, error: ApiError, event_id: Any) -> None:
        await self._send("error", error={**error.body["error"], "event_id": event_id})

    async def _send(self, kind: str, **content: Any) -> None:
        event = {"type": kind, "event_id": f"event_{secrets.token_hex(8)}", **content}
        await self._socket.send_json(event)


def _realtime(response: dict[str, Any]) -> dict[str, Any]:
    """Turn a response of /v1/responses into a realtime one; `vstream` has what it rests on."""
    why = response["error"] or response["incomplete_details"]
    return {
        "object": "realtime.response",
        "id": response["id"],
        "status": "in_progress" if response["status"] == "queued" else response["status"],
        "status_details": why and {"type": response["status"], **why},
        "output_modalities": ["text"],
        "output": [{**item, "object": "realtime.item"} for item in response["output"]],
        "usage": response["usage"],
        "metadata": response["metadata"],
        "vstream": response["vstream"],
    }


def _event(text: str) -> dict[str, Any]:
    """Raises ApiError."""
    try:
        event = json.loads(text)
    except (ValueError, RecursionError):
        raise ApiError(400, "the event is not valid JSON", "invalid_json") from None
    if not isinstance(event, dict) or not isinstance(event.get("type"), str):
        raise _invalid("an event is a JSON object with a `type`", "type")
    return event


def _parsed(kind: type[_Parsed], given: Any) -> _Parsed:
    """Raises ApiError."""
    try:
        return kind.model_validate(given)
    except ValidationError as error:
        raise invalid_value(error.errors()) from error


def _invalid(why: str, param: str | None = None) -> ApiError:
    return ApiError(400, why, "invalid_value", param=param)
