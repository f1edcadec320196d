"""Server-sent events: JSON-able documents in, the lines of text/event-stream out."""

import json
from typing import Any

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
"""Of a route's answer, for its documentation: what each event is."""


def event_of(document: dict[str, Any], kind: str | None = None, event_id: int | None = None) -> str:
    """One event; `kind` and `event_id` as the standard has them."""
    head = "" if event_id is None else f"id: {event_id}\n"
    head += "" if kind is None else f"event: {kind}\n"
    return f"{head}data: {json.dumps(document, ensure_ascii=False)}\n\n"
