"""ObjectLink: the address of an object store in, objects in and out whose failures are told.

Obstore has conditional writes for S3 and Google, but none for a directory: a lock stands in there.
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
"""Which version of an object it is."""
A = TypeVar("A")
B = TypeVar("B")


class TagRefusedError(StoreError):
    """An object is not of the version that was to be replaced."""


class ObjectLink:
    """Objects by name, for any number of threads. Keys come from the environment."""

    def __init__(self, store: str) -> None:
        """Does not connect yet. Raises StoreError for an address that makes no sense."""
        self.name = store_name(store.partition("?")[0])
        found = _ADDRESS.fullmatch(store.partition("?")[0])
        if found is None:
            raise StoreError(
                f"store {self.name!r}: is no address of an object store; use s3://BUCKET/PREFIX, "
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
        with self.told():
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
        """An object and its version; None if there is none, or it is still that of `unless`."""
        with self.told(name):
            wanted = {"if_none_match": unless["e_tag"]} if unless else None
            try:
                found = self._calls.get(self._store, name, options=wanted)
                return found.bytes().to_bytes(), _tag(found.meta)
            except (FileNotFoundError, self._errors.NotModifiedError) as error:
                if unless and isinstance(error, FileNotFoundError):
                    raise BlockNotFoundError(f"{self.name}: {name} is gone") from error
                return None

    def ranges(self, name: str, places: Sequence[tuple[int, int]]) -> list[bytes]:
        """Parts of an object by offset and length. Raises BlockNotFoundError if it is gone."""
        starts, lengths = [at for at, _ in places], [length for _, length in places]
        with self.told(name):
            try:
                found = self._calls.get_ranges(self._store, name, starts=starts, lengths=lengths)
            except FileNotFoundError as error:
                told = f"{self.name}: {name}: its blocks were rewritten or forgotten meanwhile"
                raise BlockNotFoundError(told) from error
        return [bytes(part) for part in found]

    def write(self, name: str, data: bytes) -> None:
        """One request, whole or not at all."""
        with self.told(name):
            self._calls.put(self._store, name, data, use_multipart=False)

    def swap(self, name: str, data: bytes, tag: Tag | None) -> Tag:
        """Replace an object of that version, or begin it for None; the new version.

        Raises TagRefusedError where it is another one. After StoreAwayError it may have happened.
        """
        refused = self._errors
        with self.told(name):
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
        """Those that are there."""
        for name in names:
            with self.told(name):
                try:
                    self._calls.delete(self._store, name)
                except FileNotFoundError:
                    continue

    def names(self, prefix: str) -> list[str]:
        """Of all objects below `prefix/`, in order."""
        with self.told(prefix):
            found = self._calls.list(self._store, prefix=prefix).collect()
        return sorted(one["path"] for one in found)

    def at_once(self, do: Callable[[A], B], those: Iterable[A]) -> Iterator[B]:
        """Some side by side, what comes of them in order."""
        return self._pool.map(do, those)

    def close(self) -> None:
        self._pool.shutdown(wait=False)

    @contextmanager
    def told(self, name: str = "") -> Iterator[None]:
        """Every failure within as a StoreError of ours, without what may be a key."""
        try:
            yield
        except (self._errors.BaseError, OSError, ValueError) as error:
            why = str(error).partition("\n")[0].partition("<")[0][:200].strip()
            is_refusal = isinstance(error, self._refusals)
            kind, what = (StoreError, "refuses") if is_refusal else (StoreAwayError, "is away for")
            raise kind(f"{self.name}: {what} {name} ({type(error).__name__}: {why})") from None

    def _head(self, name: str) -> Any:
        with self.told(name):
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
