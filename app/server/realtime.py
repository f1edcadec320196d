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
from typing import Any
from urllib.parse import quote

from fastapi import APIRouter, WebSocket, WebSocketDisconnect
from starlette.types import ASGIApp

from app.server.api_errors import ApiError
from app.server.own_request import answered, events

_MOST_ITEMS = 500
_MOST_BYTES = 32_000_000
"""Of the text and pictures of a conversation."""
_MOST_RUNNING = 8
_UNSEEN_S, _LOOK_S = 10.0, 0.05
_JPEG = "data:image/jpeg;base64,"
_AUDIO = ("input_audio_buffer.", "output_audio_buffer.", "conversation.item.truncate")
_PASSED_ON = frozenset(
    f"response.{part}.{what}"
    for part, whats in {
        "output_item": ("added", "done"),
        "content_part": ("added", "done"),
        "output_text": ("delta", "done"),
    }.items()
    for what in whats
)
_ENDS = tuple(f"response.{how}" for how in ("completed", "incomplete", "failed", "cancelled"))


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
        while True:
            await session.take(await socket.receive_text())
    except (WebSocketDisconnect, RuntimeError, KeyError):  # gone, or sent bytes
        return
    finally:
        await session.close()


class _Session:
    """One conversation: its items, and the responses that are being written."""

    def __init__(self, app: ASGIApp, socket: WebSocket) -> None:
        self._app, self._socket = app, socket
        self._id = f"sess_{secrets.token_hex(12)}"
        self._model = socket.query_params.get("model") or "default"
        self._stream_id = socket.query_params.get("stream")
        self._path, self._takes_frames = "", False
        self._pushed_s: float | None = None
        """Stream time of the newest picture pushed."""
        self._instructions: str | None = None
        self._max_tokens: int | None = None
        self._items: dict[str, dict[str, Any]] = {}
        self._running: dict[str, asyncio.Task[None]] = {}
        self._responses: dict[str, str] = {}
        """Ids of responses, by that of what writes them."""

    async def begin(self) -> None:
        try:
            await self._bind(self._stream_id)
        except ApiError as error:
            self._stream_id = None
            await self._report(error, None)
        await self._send("session.created", session=self._document)

    async def take(self, text: str) -> None:
        """Do what a client's event asks for; what is wrong with it is an `error` event."""
        event_id = None
        try:
            event = json.loads(text)
            if not isinstance(event, dict) or not isinstance(event.get("type"), str):
                raise _invalid("an event is a JSON object with a `type`", "type")
            event_id, kind = event.get("event_id"), event["type"]
            if kind.startswith(_AUDIO):
                raise _invalid(f"{kind}: audio is not supported here, only text and pictures")
            if kind not in self._handlers:
                raise _invalid(f"unknown event type {kind[:80]!r}", "type")
            await self._handlers[kind](event)
        except json.JSONDecodeError:
            await self._report(ApiError(400, "the event is not valid JSON", "invalid_json"), None)
        except ApiError as error:
            await self._report(error, event_id)

    async def close(self) -> None:
        for task in self._running.values():
            task.cancel()
        await asyncio.gather(*self._running.values(), return_exceptions=True)

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
            "instructions": self._instructions or "",
            "max_output_tokens": self._max_tokens or "inf",
            "stream": self._stream_id,
        }

    async def _update(self, event: dict[str, Any]) -> None:
        wanted = _object(event, "session")
        _require_text(wanted)
        if "stream" in wanted:
            await self._bind(wanted["stream"])
        if wanted.get("instructions") is not None:
            self._instructions = str(wanted["instructions"])
        if (most := wanted.get("max_output_tokens")) is not None:
            self._max_tokens = most if isinstance(most, int) else None
        await self._send("session.updated", session=self._document)

    async def _bind(self, stream_id: str | None) -> None:
        """Raises ApiError for a stream that is not there for this key."""
        path, takes_frames = "", False
        if stream_id is not None:
            path = f"/v1/streams/{quote(str(stream_id), safe='')}"
            stream = await answered(self._app, self._socket.scope, path)
            takes_frames = stream["source"]["type"] == "push"
        self._stream_id, self._path, self._takes_frames = stream_id, path, takes_frames
        self._pushed_s = None

    async def _create_item(self, event: dict[str, Any]) -> None:
        item = _message(_object(event, "item"))
        if len(self._items) >= _MOST_ITEMS:
            raise _invalid(f"the conversation has {_MOST_ITEMS} items: delete some", "item")
        if item["role"] == "user" and self._takes_frames:
            await self._push_pictures(item)
        kept = [part for one in (*self._items.values(), item) for part in one["content"]]
        taken = sum(len(part.get("text", part.get("image_url", ""))) for part in kept)
        if taken > _MOST_BYTES:
            raise _invalid(f"the conversation has more than {_MOST_BYTES} bytes: delete some")
        before = next(reversed(self._items), None)
        self._items[item["id"]] = item
        await self._send_item(item, before)

    async def _push_pictures(self, item: dict[str, Any]) -> None:
        """To the stream; it remembers them."""
        for part in item["content"]:
            if part["type"] == "input_image" and "image_url" in part:
                if not part["image_url"].startswith(_JPEG):
                    raise _invalid(f"a stream takes JPEG pictures: {_JPEG}...", "image_url")
                try:
                    jpeg = base64.b64decode(part["image_url"].removeprefix(_JPEG), validate=True)
                except binascii.Error as error:
                    raise _invalid("the picture is no valid base64", "image_url") from error
                told = await answered(self._app, self._socket.scope, f"{self._path}/frames", jpeg)
                if told["accepted"]:
                    self._pushed_s = told["stream_s"]
                del part["image_url"]

    async def _until_seen(self) -> None:
        """Wait for what was pushed to be encoded: the question may be about it."""
        give_up_at = time.monotonic() + _UNSEEN_S
        while self._pushed_s is not None and time.monotonic() < give_up_at:
            stream = await answered(self._app, self._socket.scope, self._path)
            if stream["memory"]["blocks"] and stream["stream_s"] >= self._pushed_s:
                return
            await asyncio.sleep(_LOOK_S)

    async def _retrieve_item(self, event: dict[str, Any]) -> None:
        await self._send("conversation.item.retrieved", item=_shown(self._item(event)))

    async def _delete_item(self, event: dict[str, Any]) -> None:
        del self._items[self._item(event)["id"]]
        await self._send("conversation.item.deleted", item_id=event["item_id"])

    def _item(self, event: dict[str, Any]) -> dict[str, Any]:
        item = self._items.get(str(event.get("item_id")))
        if item is None:
            raise ApiError(404, "there is no such item", "item_not_found", param="item_id")
        return item

    async def _create_response(self, event: dict[str, Any]) -> None:
        wanted = event.get("response") or {}
        _require_text(wanted)
        is_apart = wanted.get("conversation") == "none"
        if not is_apart and "" in self._running:
            why = "a response is being written: cancel it, or ask with `conversation: none`"
            raise ApiError(409, why, "conversation_already_has_active_response")
        if len(self._running) >= _MOST_RUNNING:
            raise ApiError(429, f"{_MOST_RUNNING} responses are being written", "busy")
        given = wanted.get("input")
        items = [_message(one) for one in given] if given is not None else self._items.values()
        request = {
            "model": self._model,
            "input": [self._asked(one) for one in items],
            "instructions": wanted.get("instructions") or self._instructions,
            "metadata": wanted.get("metadata"),
            "max_output_tokens": wanted.get("max_output_tokens") or self._max_tokens,
            "store": False,
            "stream": True,
        }
        if not isinstance(request["max_output_tokens"], int):
            del request["max_output_tokens"]
        running = secrets.token_hex(8) if is_apart else ""
        writing = self._write(running, request, event.get("event_id"))
        self._running[running] = asyncio.ensure_future(writing)

    def _asked(self, item: dict[str, Any]) -> dict[str, Any]:
        """An item as /v1/responses takes it: what the stream has seen is not shown again."""
        parts = [part for part in item["content"] if part.get("text") or "image_url" in part]
        if item["role"] == "user" and self._stream_id is not None:
            url = f"stream://{quote(self._stream_id, safe='')}"
            parts.append({"type": "video_url", "video_url": {"url": url}})
        return {"type": "message", "role": item["role"], "content": parts}

    async def _write(self, run: str, request: dict[str, Any], event_id: Any) -> None:
        answer = events(self._app, self._socket.scope, "/v1/responses", request)
        try:
            await self._until_seen()
            async with aclosing(answer):
                async for event in answer:
                    await self._pass_on(run, event)
        except ApiError as error:
            await self._report(error, event_id)
        finally:
            self._running.pop(run, None)
            self._responses.pop(run, None)

    async def _pass_on(self, run: str, event: dict[str, Any]) -> None:
        kind = event.get("type", "")
        if kind == "response.created":
            self._responses[run] = event["response"]["id"]
            await self._send(kind, response=_realtime(event["response"]))
        elif kind in _ENDS:
            response = _realtime(event["response"])
            if not run:
                self._items.update({item["id"]: item for item in response["output"]})
            self._running.pop(run, None)  # the client may ask for the next at once
            self._responses.pop(run, None)
            await self._send("response.done", response=response)
        elif kind in _PASSED_ON:
            told = {**event, "response_id": self._responses[run]}
            if "part" in told:
                told["part"] = {"type": "text", "text": told["part"]["text"]}
            await self._send(**{name: told[name] for name in told if name != "sequence_number"})

    async def _cancel_response(self, event: dict[str, Any]) -> None:
        wanted = event.get("response_id") or self._responses.get("")
        if wanted not in self._responses.values():
            raise ApiError(404, "no such response is being written", "response_cancel_not_active")
        await self._stop(str(wanted))

    async def _stop(self, response_id: str) -> None:
        with suppress(ApiError):  # it has ended
            await answered(self._app, self._socket.scope, f"/v1/responses/{response_id}/cancel", {})

    async def _send_item(self, item: dict[str, Any], before: str | None) -> None:
        for kind in ("conversation.item.added", "conversation.item.done"):
            await self._send(kind, previous_item_id=before, item=_shown(item))

    async def _report(self, error: ApiError, event_id: Any) -> None:
        await self._send("error", error={**error.body["error"], "event_id": event_id})

    async def _send(self, type: str, **content: Any) -> None:
        event = {"type": type, "event_id": f"event_{secrets.token_hex(8)}", **content}
        await self._socket.send_json(event)


def _realtime(response: dict[str, Any]) -> dict[str, Any]:
    """A response of /v1/responses as realtime clients know it; `vstream` says what it rests on."""
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


def _message(given: Any) -> dict[str, Any]:
    """An item as it is kept. Raises ApiError for anything but a message of text and pictures."""
    if not isinstance(given, dict) or given.get("type") != "message":
        raise _invalid("only items of type `message` are supported here", "item.type")
    parts = given.get("content")
    if not isinstance(parts, list) or not all(isinstance(part, dict) for part in parts):
        raise _invalid("`content` is a list of parts", "item.content")
    for part in parts:
        kind = part.get("type")
        if kind in ("input_audio", "output_audio"):
            raise _invalid(f"{kind}: audio is not supported here, only text and pictures")
        needed = {"input_text": "text", "output_text": "text", "input_image": "image_url"}.get(kind)
        if needed is None or not isinstance(part.get(needed), str):
            raise _invalid(f"no part of type {str(kind)[:40]!r}", "item.content")
    role = given.get("role")
    if role not in ("user", "assistant", "system"):
        raise _invalid("`role` is user, assistant or system", "item.role")
    return {
        "id": str(given.get("id") or f"item_{secrets.token_hex(12)}"),
        "object": "realtime.item",
        "type": "message",
        "role": role,
        "status": "completed",
        "content": [dict(part) for part in parts],
    }


def _shown(item: dict[str, Any]) -> dict[str, Any]:
    """Without pictures, which the client has."""
    parts = [{k: v for k, v in part.items() if k != "image_url"} for part in item["content"]]
    return {**item, "content": parts}


def _require_text(wanted: dict[str, Any]) -> None:
    modalities = wanted.get("output_modalities")
    if modalities not in (None, ["text"]) or wanted.get("audio"):
        raise _invalid('audio is not supported here: output_modalities is ["text"]')


def _object(event: dict[str, Any], name: str) -> dict[str, Any]:
    if not isinstance(found := event.get(name), dict):
        raise _invalid(f"`{name}` is missing", name)
    return found


def _invalid(why: str, param: str | None = None) -> ApiError:
    return ApiError(400, why, "invalid_value", param=param)
