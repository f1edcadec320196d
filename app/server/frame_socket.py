"""take_frames: receives JPEG frames over a WebSocket, and answers each once it is pushed."""

import json
from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import WebSocket, WebSocketDisconnect

from app.server.api_errors import ApiError, api_error
from memory import KVMemoryError
from vstream.errors import VStreamError

Push = Callable[[bytes, str | None], Awaitable[dict[str, Any]]]
"""Takes a frame, and when it was captured, if the client has said so."""


async def take_frames(socket: WebSocket, push: Push) -> None:
    """Each binary message is a frame; a text message {"captured_at": ...} dates the next one."""
    await socket.accept()
    captured_at: str | None = None
    try:
        while (message := await socket.receive())["type"] != "websocket.disconnect":
            try:
                if (frame := message.get("bytes")) is None:
                    captured_at = _dated(message.get("text") or "")
                    continue
                answer = await push(frame, captured_at)
            except (ApiError, VStreamError, KVMemoryError) as error:
                answer = api_error(error).body
            captured_at = None
            await socket.send_json(answer)
    except (WebSocketDisconnect, RuntimeError):
        return


def _dated(text: str) -> str:
    """Raises ApiError."""
    try:
        return str(json.loads(text)["captured_at"])
    except (ValueError, KeyError, TypeError, RecursionError):
        why = 'a text message is {"captured_at": ...}'
        raise ApiError(422, why, "invalid_value") from None
