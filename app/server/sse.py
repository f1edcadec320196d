"""Server-sent events: write JSON-able documents as lines of text/event-stream."""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any, TypeVar

Item = TypeVar("Item")

DONE = "data: [DONE]\n\n"
EVENT_STREAM: dict[str, Any] = {
    "text/event-stream": {
        "schema": {
            "type": "object",
            "properties": {
                "data": {"type": "string", "description": "A JSON document, or [DONE]."},
                "event": {"type": "string"},
                "id": {"type": "string"},
            },
        }
    }
}
"""Documents the events of a route's response in OpenAPI."""


def event_of(document: dict[str, Any], kind: str | None = None, event_id: int | None = None) -> str:
    """Format one event; `kind` and `event_id` become the standard's `event` and `id`."""
    head = "" if event_id is None else f"id: {event_id}\n"
    head += "" if kind is None else f"event: {kind}\n"
    return f"{head}data: {json.dumps(document, ensure_ascii=False)}\n\n"


async def with_pauses(items: AsyncIterator[Item], pause_s: float) -> AsyncIterator[Item | None]:
    """Yield the `items`, and None whenever none has come for `pause_s` seconds."""
    coming: asyncio.Future[Item] | None = None
    try:
        while True:
            coming = coming or asyncio.ensure_future(anext(items))
            done, _ = await asyncio.wait({coming}, timeout=pause_s)
            if not done:
                yield None
                continue
            try:
                item = coming.result()
            except StopAsyncIteration:
                return
            coming = None
            yield item
    finally:
        if coming is not None:
            coming.cancel()
            await asyncio.gather(coming, return_exceptions=True)
        if isinstance(items, AsyncGenerator):
            await items.aclose()
