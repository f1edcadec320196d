"""Attempt: a request in, under which id, since when and about which moments it is answered out.

Whoever hands a request to one worker after another says so in its scope, where no client can, for
the answers of all to be one.
"""

import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from app.server.time_range import AskedSpan

KEY = "vstream.attempt"
"""Of a scope: a dictionary of plain values."""


@dataclass(frozen=True)
class Attempt:
    """`spans` are those of the streams whose moments are pinned."""

    id: str
    created_at: int
    spans: Mapping[str, AskedSpan]


def new_attempt() -> dict[str, Any]:
    """As it stands in a scope."""
    return {"id": secrets.token_hex(16), "created_at": int(time.time())}


def attempt_of(scope: Mapping[str, Any]) -> Attempt:
    """The one that a request is, be it the only one."""
    told = scope.get(KEY) or new_attempt()
    spans = {stream_id: AskedSpan(**span) for stream_id, span in told.get("spans", {}).items()}
    return Attempt(told["id"], told["created_at"], spans)
