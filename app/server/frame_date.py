"""dated: a text message among pushed frames in, when the next one was captured out."""

import json

from app.server.api_errors import ApiError


def dated(text: str) -> str:
    """The time in it. Raises ApiError."""
    try:
        return str(json.loads(text)["captured_at"])
    except (ValueError, KeyError, TypeError, RecursionError):
        why = 'a text message is {"captured_at": ...}'
        raise ApiError(422, why, "invalid_value") from None
