"""RedisLink: connects to a Redis or Valkey server and reports its failures.

Needs the core commands of Redis 6.2 or Valkey 7.2 on a single server, named or found by Sentinel:
cluster redirections are not followed. The server must keep all data: persistence on (append-only
file), no eviction.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    ConnectionError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TimeoutError,
)
from redis.retry import Retry
from redis.sentinel import Sentinel

from memory.errors import FencedError, StoreAwayError, StoreError
from memory.tiers.tier import store_name

OLDEST = {"Redis": (6, 2), "Valkey": (7, 2)}
_PASSING = {"BUSY", "CLUSTERDOWN", "LOADING", "MASTERDOWN", "MISCONF", "NOREPLICAS"}
_PASSING |= {"READONLY", "TRYAGAIN", "UNWRITTEN"}
"""Codes of refusals that may pass."""
_REFUSALS: dict[str, tuple[type[StoreError], str]] = {
    "OOM": (StoreAwayError, "is full (maxmemory); raise it or give a smaller budget"),
    "FENCED": (FencedError, "another process writes this stream now ({rest}); this one stops"),
    "EMPTIED": (StoreError, "came back without this stream; run it with appendonly yes"),
    "SETBACK": (
        StoreError,
        "came back without the newest blocks; start again to continue after those it has, and run "
        "it with appendonly yes",
    ),
}
"""Refusals of our scripts and of the server, by error code."""
_PIPELINE = re.compile(r"^Command # \d+ \(.*\) of pipeline caused error: ", re.DOTALL)
TIMEOUT_S = 2.0
"""A server that does not reply for this long counts as away."""


class RedisLink:
    """Connections to one server, for any number of threads.

    Commands that change something use `client`, which sends each only once: a command whose reply
    was lost may have run. Commands that only read use `reads`, which retries a failed one once,
    because its connection may have been idle too long.
    """

    def __init__(self, url: str) -> None:
        """Prepare without connecting. Raises StoreError for an invalid address."""
        try:
            parts = urlsplit(url)
            if "@" in parts.path + parts.query and parts.scheme != "unix":
                raise ValueError("an @ after the host")
            # Any, because redis-py's types allow for clients that decode text.
            self.client: Any = _client(url, retries=0)
            self.reads: Any = _client(url, retries=1)
            place = _place(parts)
        except ValueError:  # its text may hold part of the password
            raise StoreError(
                f"store {store_name(url)!r}: not an address of a server; use redis://HOST:PORT/DB "
                "or sentinel://HOST:PORT,HOST:PORT/NAME, and write / # ? @ in a password as %2F "
                "%23 %3F %40"
            ) from None
        self.name = f"redis {place}"
        """The server without its secrets."""

    def script(self, *names: str) -> Any:
        """Return the concatenated Lua files as one script, to call with `keys` and `args`."""
        parts = [files(__package__).joinpath(f"{name}.lua").read_text("utf-8") for name in names]
        return self.client.register_script("".join(parts))

    def require_lasting(self) -> None:
        """Raise StoreError if the server may discard data."""
        with self.store_errors():
            try:
                found = self.reads.config_get("maxmemory*")
            except (NoPermissionError, ResponseError):
                return  # a managed server may hide it
        limit, policy = int(found.get("maxmemory", 0)), found.get("maxmemory-policy", "noeviction")
        if limit and policy != "noeviction":
            raise StoreError(
                f"{self.name}: its maxmemory-policy {policy} would throw blocks away; set it to "
                "noeviction"
            )

    def described(self) -> str:
        """Describe, for people, which server it is and what survives its crash.

        Raises StoreError if it is too old or may discard data.
        """
        self.require_lasting()
        with self.store_errors():
            server = self.reads.info("server")
            kept = self.reads.info("persistence")
        kind = "Valkey" if "valkey_version" in server else "Redis"
        version = str(server.get("valkey_version", server["redis_version"]))
        if tuple(int(part) for part in version.split(".")[:2]) < OLDEST[kind]:
            oldest = ".".join(map(str, OLDEST[kind]))
            raise StoreError(f"{self.name}: is {kind} {version}; it must be at least {oldest}")
        lost = "no: a crash loses the blocks written since its last snapshot"
        return f"{kind} {version}, appendonly {'yes' if kept.get('aof_enabled') else lost}"

    @contextmanager
    def store_errors(self) -> Iterator[None]:
        """Turn every failure of the commands within into our StoreError.

        StoreAwayError if the server may come back, FencedError if a script refused a writer that
        has been replaced.
        """
        try:
            yield
        except RedisError as error:
            raise self._store_error(error) from error

    def close(self) -> None:
        self.client.close()
        self.reads.close()

    def _store_error(self, error: RedisError) -> StoreError:
        text = _PIPELINE.sub("", str(error))
        code, _, rest = text.partition(" ")
        kind, what = _REFUSALS.get(code, (StoreError, text))
        if isinstance(error, AuthenticationError):
            what = (
                f"refuses the user or password ({text}); give them in the address: "
                "redis://USER:PASSWORD@HOST"
            )
        elif isinstance(error, OutOfMemoryError):
            kind, what = _REFUSALS["OOM"]
        elif isinstance(error, BusyLoadingError | ConnectionError | TimeoutError | ReadOnlyError):
            kind, what = StoreAwayError, f"cannot be reached ({text}); is it running?"
        elif code in _PASSING:
            kind, what = StoreAwayError, f"accepts no writes for now: {text}"
        return kind(f"{self.name}: {what.replace('{rest}', rest)}")


def _client(url: str, retries: int) -> Any:
    waits = {"socket_timeout": TIMEOUT_S, "socket_connect_timeout": TIMEOUT_S}
    more: dict[str, Any] = {**waits, "retry": Retry(NoBackoff(), retries)}
    if not url.startswith("unix:"):
        more["socket_keepalive"] = True
    parts = urlsplit(url)
    if parts.scheme != "sentinel":
        return Redis.from_url(url, **more)
    name, _, db = parts.path[1:].partition("/")
    if not name:
        raise ValueError("no name of a master")
    user, password = (unquote(one or "") or None for one in (parts.username, parts.password))
    made: Any = Sentinel  # redis-py has no types for it
    sentinels = made(_sentinels(parts), sentinel_kwargs=waits)
    return sentinels.master_for(name, username=user, password=password, db=int(db or 0), **more)


def _sentinels(parts: SplitResult) -> list[tuple[str, int]]:
    """Return the hosts and ports of an address. Raises ValueError."""
    found = [one.partition(":") for one in parts.netloc.rpartition("@")[2].split(",")]
    if not all(host for host, _, _ in found):
        raise ValueError("no host")
    return [(host, int(port or 26379)) for host, _, port in found]


def _place(parts: SplitResult) -> str:
    """Raises ValueError."""
    if parts.scheme == "unix":
        return parts.path
    if parts.scheme == "sentinel":
        return f"{parts.path[1:].partition('/')[0]} of {parts.netloc.rpartition('@')[2]}"
    return f"{parts.hostname}:{parts.port or 6379}"
