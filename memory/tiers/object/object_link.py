"""ObjectLink: reads and writes objects of an object store, and reports its failures.

Obstore has conditional writes for S3 and Google, but not for a directory: a lock replaces them.
"""

import fcntl
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import unquote

from memory.errors import BlockNotFoundError, StoreAwayError, StoreError
from memory.tiers.tier import store_name

_ADDRESS = re.compile(r"(?:(?:s3|gs)://[^/?#@:]+(?:/[^?#]*)?|object://(/(?!/)[^?#]*))")
_PATIENCE = {"connect_timeout": "2s", "timeout": "30s"}
_SIDE_BY_SIDE = 8
Tag = dict[str, str]
"""Identifies the version of an object."""
A = TypeVar("A")
B = TypeVar("B")


class TagRefusedError(StoreError):
    """An object is not at the version that was to be replaced."""


class ObjectLink:
    """Access to objects by name. Safe from any thread. Keys come from the environment."""

    def __init__(self, store: str) -> None:
        """Does not connect yet. Raises StoreError for a malformed address."""
        self.name = store_name(store.partition("?")[0])
        found = _ADDRESS.fullmatch(store.partition("?")[0])
        if found is None:
            raise StoreError(
                f"store {self.name!r}: not an address of an object store; use s3://BUCKET/PREFIX, "
                "gs://BUCKET/PREFIX or object:///DIR, and give keys in the environment"
            )
        self._folder = Path(unquote(found[1])) if found[1] else None
        self._pool = ThreadPoolExecutor(_SIDE_BY_SIDE, "objects")
        try:
            import obstore
            from obstore import exceptions
            from obstore import store as stores
        except ImportError:
            raise StoreError(
                f"store {self.name}: object stores need obstore: pip install 'vstream[objects]'"
            ) from None
        self._calls: Any = obstore
        self._errors: Any = exceptions
        kinds: Any = stores
        self._refusals = (
            *(exceptions.PermissionDeniedError, exceptions.UnauthenticatedError),
            *(exceptions.UnknownConfigurationKeyError, ValueError),
        )
        with self.store_errors():
            if self._folder is not None:
                self._store: Any = kinds.LocalStore(self._folder, mkdir=True)
                return
            is_plain = os.environ.get("AWS_ENDPOINT_URL", "").startswith("http:")
            self._store = kinds.from_url(
                found[0],
                client_options={**_PATIENCE, "allow_http": is_plain},
                retry_config={"max_retries": 2, "retry_timeout": timedelta(seconds=10)},
            )

    def read(self, name: str, unless: Tag | None = None) -> tuple[bytes, Tag] | None:
        """Return an object and its version; None if there is none, or if it is still `unless`."""
        with self.store_errors(name):
            wanted = {"if_none_match": unless["e_tag"]} if unless else None
            try:
                found = self._calls.get(self._store, name, options=wanted)
                return found.bytes().to_bytes(), _tag(found.meta)
            except (FileNotFoundError, self._errors.NotModifiedError) as error:
                if unless and isinstance(error, FileNotFoundError):
                    raise BlockNotFoundError(f"{self.name}: {name} is gone") from error
                return None

    def ranges(self, name: str, places: Sequence[tuple[int, int]]) -> list[bytes]:
        """Read parts of an object by offset and length. Raises BlockNotFoundError if it is gone."""
        starts, lengths = [at for at, _ in places], [length for _, length in places]
        with self.store_errors(name):
            try:
                found = self._calls.get_ranges(self._store, name, starts=starts, lengths=lengths)
            except FileNotFoundError as error:
                why = f"{self.name}: {name}: its blocks were rewritten or forgotten meanwhile"
                raise BlockNotFoundError(why) from error
        return [bytes(part) for part in found]

    def write(self, name: str, data: bytes) -> None:
        """Write an object in one request: whole or not at all."""
        with self.store_errors(name):
            self._calls.put(self._store, name, data, use_multipart=False)

    def swap(self, name: str, data: bytes, tag: Tag | None) -> Tag:
        """Replace an object if it is at version `tag`, or create it for None; return its version.

        Raises TagRefusedError if it is at another. After StoreAwayError it may have happened.
        """
        refused = self._errors
        with self.store_errors(name):
            try:
                if self._folder is None:
                    mode: Any = tag or "create"
                    made = self._calls.put(self._store, name, data, mode=mode, use_multipart=False)
                    return _tag(made)
                with self._alone():
                    if self.tag(name) != tag:
                        raise TagRefusedError(f"{self.name}: {name} has changed")
                    return _tag(self._calls.put(self._store, name, data, use_multipart=False))
            except (refused.PreconditionError, refused.AlreadyExistsError) as error:
                raise TagRefusedError(f"{self.name}: {name} has changed") from error

    def tag(self, name: str) -> Tag | None:
        found = self._head(name)
        return _tag(found) if found else None

    def written_at(self, name: str) -> datetime | None:
        found = self._head(name)
        return found["last_modified"] if found else None

    def delete(self, names: Iterable[str]) -> None:
        """Delete these objects, if they exist."""
        for name in names:
            with self.store_errors(name):
                try:
                    self._calls.delete(self._store, name)
                except FileNotFoundError:
                    continue

    def names(self, prefix: str) -> list[str]:
        """Return the names of all objects below `prefix/`, in order."""
        with self.store_errors(prefix):
            found = self._calls.list(self._store, prefix=prefix).collect()
        return sorted(one["path"] for one in found)

    def at_once(self, do: Callable[[A], B], those: Iterable[A]) -> Iterator[B]:
        """Do several at a time; yield the results in order."""
        return self._pool.map(do, those)

    def close(self) -> None:
        self._pool.shutdown(wait=False)

    @contextmanager
    def store_errors(self, name: str = "") -> Iterator[None]:
        """Turn every failure within into our StoreError, without what may be a key."""
        try:
            yield
        except (self._errors.BaseError, OSError, ValueError) as error:
            why = str(error).partition("\n")[0].partition("<")[0][:200].strip()
            is_refusal = isinstance(error, self._refusals)
            kind, what = (StoreError, "refuses") if is_refusal else (StoreAwayError, "is away for")
            raise kind(f"{self.name}: {what} {name} ({type(error).__name__}: {why})") from None

    def _head(self, name: str) -> Any:
        with self.store_errors(name):
            try:
                return self._calls.head(self._store, name)
            except FileNotFoundError:
                return None

    @contextmanager
    def _alone(self) -> Iterator[None]:
        assert self._folder is not None
        lock = os.open(self._folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)


def _tag(found: Any) -> Tag:
    return {key: found[key] for key in ("e_tag", "version") if found[key] is not None}
