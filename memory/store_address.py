"""Store addresses and ids: what a user wrote in, a name to show or a refusal out."""

import re

from memory.errors import StoreError

_STREAM_ID = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}")
_USER_INFO = re.compile(r"^([\w+.-]+://)?.*@", re.DOTALL)
_PASSWORD = re.compile(r"(?i)((?:username|password)=)[^&]*")


def store_name(store: str) -> str:
    """`store` without user name and password, wherever the address of a server holds them.

    Hides rather too much: all before the last "@" goes, for a password may hold any character.
    """
    return _PASSWORD.sub(r"\1***", _USER_INFO.sub(lambda found: f"{found[1] or ''}***@", store))


def require_stream_id(stream_id: str) -> str:
    """`stream_id`, which becomes a part of file names. Raises StoreError if it must not."""
    if not _STREAM_ID.fullmatch(stream_id):
        raise StoreError(
            f"stream id {stream_id!r}: use up to 128 of A-Z a-z 0-9 . _ - and no dot at the start"
        )
    return stream_id
