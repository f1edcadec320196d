"""Store addresses: what a user names as a store in, what kind it is and a name to show out."""

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

from memory.errors import StoreError

REDIS_SCHEMES = ("redis", "rediss", "unix")
_STREAM_ID = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}")
_USER_INFO = re.compile(r"^([\w+.-]+://)?.*@", re.DOTALL)
_PASSWORD = re.compile(r"(?i)((?:username|password)=)[^&]*")


def store_name(store: str) -> str:
    """`store` without user name and password, wherever the address of a server holds them.

    Hides rather too much: all before the last "@" goes, for a password may hold any character.
    """
    return _PASSWORD.sub(r"\1***", _USER_INFO.sub(lambda found: f"{found[1] or ''}***@", store))


def is_redis(store: str) -> bool:
    """Whether that store is a Redis or Valkey server."""
    return store.partition("://")[0] in REDIS_SCHEMES


def store_folder(store: str) -> Path | None:
    """The directory of file:///DIR, None for memory://. Raises StoreError for all else."""
    if store == "memory://":
        return None
    kinds = "use memory://, file:///DIR or redis://HOST"
    try:
        url = urlsplit(store)
    except ValueError as error:
        raise StoreError(f"store {store_name(store)!r}: {error}; {kinds}") from error
    if url.scheme != "file":
        raise StoreError(f"store {store_name(store)!r}: unknown kind of store; {kinds}")
    if url.netloc or not url.path.startswith("/") or url.query or url.fragment:
        raise StoreError(
            f"store {store_name(store)!r}: give the directory as an absolute path with three "
            "slashes, as file:///var/lib/streams"
        )
    return Path(unquote(url.path))


def require_stream_id(stream_id: str) -> str:
    """`stream_id`, which becomes a part of file names. Raises StoreError if it must not."""
    if not _STREAM_ID.fullmatch(stream_id):
        raise StoreError(
            f"stream id {stream_id!r}: use up to 128 of A-Z a-z 0-9 . _ - and no dot at the start"
        )
    return stream_id
