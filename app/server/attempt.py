"""Attempt: the id, time and moments under which a request is answered.

When one worker after another answers a request, the ingress puts them into its scope, out of the
client's reach, so that all give one answer.
"""

import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from app.server.time_range import QuestionSpan

KEY = "vstream.attempt"
"""Key in a scope; its value is a dictionary of plain values."""


@dataclass(frozen=True)
class Attempt:
    """`spans` holds the spans of the streams whose moments are pinned."""

    id: str
    created_at: int
    spans: Mapping[str, QuestionSpan]


def new_attempt() -> dict[str, Any]:
    """Return a new attempt, in the form that a scope holds."""
    return {"id": secrets.token_hex(16), "created_at": int(time.time())}


def attempt_of(scope: Mapping[str, Any]) -> Attempt:
    """Return the attempt in a request's scope, or a new one if there is none."""
    found = scope.get(KEY) or new_attempt()
    spans = {stream_id: QuestionSpan(**span) for stream_id, span in found.get("spans", {}).items()}
    return Attempt(found["id"], found["created_at"], spans)
