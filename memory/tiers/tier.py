"""Tier: keeps streams at one address; its scheme finds the tier.

The functions at the end do for an address what its tier does.
"""

import os
import re
import socket
from collections import deque
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from memory.block_info import Provenance
from memory.config import MemoryConfig
from memory.errors import KVMemoryError, StoreAwayError, StoreError, UnknownNameError
from memory.fault import Fault
from memory.line_log import LineLog
from memory.registry import Registry
from memory.stream_entry import StreamEntry
from memory.stream_report import StreamReport, read_through

if TYPE_CHECKING:
    from memory.block_store import BlockStore, FollowedSource
    from memory.tiers.redis.redis_dialogue import RedisDialogue
    from memory.tiers.redis.redis_tasks import RedisTasks

_STREAM_ID = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}")
_USER_INFO = re.compile(r"^([\w+.-]+://)?.*@", re.DOTALL)
_PASSWORD = re.compile(r"(?i)((?:username|password)=)[^&]*")


def store_name(store: str) -> str:
    """Return `store` without user name and password, wherever the address holds them.

    Hides too much rather than too little: everything before the last "@" goes, as a password may
    hold any character.
    """
    return _PASSWORD.sub(r"\1***", _USER_INFO.sub(lambda found: f"{found[1] or ''}***@", store))


def require_stream_id(stream_id: str) -> str:
    """Return `stream_id`. Raises StoreError if it must not become part of a file name."""
    if not _STREAM_ID.fullmatch(stream_id):
        raise StoreError(
            f"stream id {stream_id!r}: use up to 128 of A-Z a-z 0-9 . _ - and no dot at the start"
        )
    return stream_id


def writer_name() -> str:
    """Return the name of this process as the writer of a stream, HOST:PID."""
    return f"{socket.gethostname()}:{os.getpid()}"


StreamState = Literal["live", "stored"]


@dataclass(frozen=True)
class StoredStream:
    """A stream in a store. `state` is live while a process writes it; `from_s` to `to_s` is the
    stretch that is kept, both 0 without blocks.
    """

    id: str
    state: StreamState
    blocks: int
    from_s: float
    to_s: float
    bytes_by_tier: dict[str, int]
    damaged: int = 0
    """Places in its files where blocks are damaged or missing; these blocks are not counted."""
    error: str | None = None
    """Why its blocks cannot be read; then none are counted."""


@dataclass(frozen=True)
class FoundStream:
    """The provenance of a stream, and whether a process writes it now."""

    provenance: Provenance
    state: StreamState
    note: dict[str, Any]
    """The writer's own note, see `KVMemory.set_note`."""
    note_lost: bool = False
    """Whether the note is empty because it is damaged."""
    writer: str | None = None
    """The `writer_name` of the process that writes it, if the tier knows it."""


class Tier:
    """The streams at one address; keeps nothing open. All methods raise StoreError.

    This base class is host RAM, where streams end with the process that writes them. A tier whose
    streams outlive it sets `lasts` and overrides everything else. Ids are checked by the caller.
    """

    name: ClassVar[str] = ""
    """The scheme of its addresses, such as `file` in file:///DIR."""
    lasts: ClassVar[bool] = False
    """Whether streams outlive the process that writes them, and other processes can read them."""
    budget: ClassVar[str | None] = None
    """The setting that bounds each stream's blocks; None: `host_bytes`."""

    def __init__(self, store: str) -> None:
        """Raises StoreError for a malformed address."""
        self.store = store

    def enter(self, stream_id: str, provenance: Provenance | None) -> StreamEntry:
        """Become the one writer of a stream; None accepts any provenance, and creates no stream.

        Raises FingerprintMismatchError if the stream is of another provenance.
        """
        if provenance is None:
            raise StoreError(f"store {store_name(self.store)}: holds no stream {stream_id!r}")
        return StreamEntry(provenance)

    def blocks(self, entry: StreamEntry, config: MemoryConfig) -> "BlockStore":
        """Return the blocks of a stream that was entered here."""
        raise NotImplementedError

    def follow(self, stream_id: str) -> "tuple[Provenance, FollowedSource]":
        """Return a stream's provenance and blocks, while another process may write it."""
        raise StoreError(
            f"store {store_name(self.store)}: other processes cannot read it; keep streams in "
            "file:///DIR or redis://HOST"
        )

    def ids(self) -> list[str]:
        """Return the ids of all streams in alphabetical order, without reading the streams."""
        return []

    def streams(self) -> list[StoredStream]:
        """Return all streams, by id, live or not. One that cannot be read has an `error`."""
        return []

    def find(self, stream_id: str) -> FoundStream | None:
        """Return one stream without reading its blocks; None if there is none."""
        return None

    def find_all(self) -> dict[str, FoundStream | StoreError]:
        """Do `find` for all streams, by id; a stream that cannot be read maps to its StoreError."""
        found: dict[str, FoundStream | StoreError | None] = {}
        for stream_id in self.ids():
            try:
                found[stream_id] = self.find(require_stream_id(stream_id))
            except StoreAwayError:
                raise
            except StoreError as error:
                found[stream_id] = error
        return {stream_id: one for stream_id, one in found.items() if one is not None}

    def erase(self, stream_id: str) -> None:
        """Delete a stream that nobody writes."""
        config = MemoryConfig(store=self.store)
        with (
            closing(self.enter(stream_id, None)) as entry,
            closing(self.blocks(entry, config)) as blocks,
        ):
            deque(blocks.recover(), maxlen=0)
            blocks.close_span()
            for span in blocks.spans():
                blocks.replace(span.block_ids, {})
            entry.erase()

    def verify(self, stream_id: str) -> StreamReport:
        """Read everything that is kept of a stream, and change nothing."""
        found = self.find(stream_id)
        with closing(self.follow(stream_id)[1]) as source:
            return read_through(stream_id, source, found is not None and found.state == "live")

    def repair(self, stream_id: str) -> None:
        """Repair a stream that no process is writing: keep what can be read, and move aside what
        is damaged.
        """
        raise StoreError(
            f"store {store_name(self.store)}: cannot be repaired, only verified; forget the "
            "stretch with the damaged blocks, or restore the store from a copy"
        )

    def lines(self, name: str, most: int) -> LineLog | None:
        """Return the newest `most` lines of that name beside the streams; None if nothing lasts."""
        return None

    def kept_lines(self, name: str, most: int) -> list[str]:
        """Return these lines while another process may write them."""
        return []

    def dialogue(self, stream_id: str, name: str) -> "RedisDialogue | None":
        """Return the dialogue about a stream under that name; None if the tier keeps none."""
        return None

    def tasks(self, most: int, kept_s: float) -> "RedisTasks | None":
        """Return tasks that may outlive their process; None if no other could continue them."""
        return None

    def require_there(self) -> None:
        """Raise StoreError if nothing was ever kept here, as at a mistyped address."""

    def check(self) -> str:
        """Describe it for people, if it can be used. Leaves no trace in it."""
        return store_name(self.store)


TIERS = Registry(Tier, "vstream.tiers", "tier")
_found = cache(TIERS.find)


def tier_of(store: str) -> Tier:
    """Return the tier at an address. Raises StoreError if its scheme has none."""
    shown = store_name(store)
    try:
        return _found(shown.partition(":")[0])(store)
    except UnknownNameError as error:
        raise StoreError(
            f"store {shown!r}: {error}; write memory://, file:///DIR, redis://HOST or s3://BUCKET"
        ) from error


def stored_ids(store: str) -> list[str]:
    """Return the ids of all streams of a store, without reading them. Raises StoreError."""
    return tier_of(store).ids()


def stored_streams(store: str) -> list[StoredStream]:
    """Return all streams of a store, by id; an unreadable one has an `error`. Raises StoreError."""
    return tier_of(store).streams()


def find_stream(store: str, stream_id: str) -> FoundStream | None:
    """Return one stream of a store without reading its blocks; None if there is none.

    Raises StoreError, also for an id that no stream can have.
    """
    return tier_of(store).find(require_stream_id(stream_id))


def find_streams(store: str) -> dict[str, FoundStream | StoreError]:
    """Return all streams of a store by id, without reading their blocks and as cheaply as possible.
    A stream that cannot be read maps to its StoreError. Raises StoreError.
    """
    return tier_of(store).find_all()


def verify_stored(store: str) -> Iterator[StreamReport]:
    """Read everything that is kept of each stream of a store, by id; change nothing. One that
    cannot be read is reported with the reason. Raises StoreError.
    """
    tier = tier_of(store)
    for stream_id in tier.ids():
        yield _verified(tier, stream_id)


def _verified(tier: Tier, stream_id: str) -> StreamReport:
    try:
        return tier.verify(require_stream_id(stream_id))
    except StoreAwayError:
        raise
    except KVMemoryError as error:
        return StreamReport(stream_id, False, 0, (Fault(str(error)),))


def repair_stored(store: str, stream_id: str) -> StreamReport:
    """Repair a stream that no process is writing, then verify it. What can be read stays; what is
    damaged is moved aside. Raises StoreError, also if its tier cannot repair.
    """
    tier = tier_of(store)
    tier.repair(require_stream_id(stream_id))
    return _verified(tier, stream_id)


def note_stored(config: MemoryConfig, stream_id: str, note: dict[str, Any]) -> None:
    """Set the note of a stream that nobody writes, whatever its blocks are. Raises StoreError."""
    with closing(tier_of(config.store).enter(require_stream_id(stream_id), None)) as entry:
        entry.set_note(note)


def erase_stored(config: MemoryConfig, stream_id: str) -> None:
    """Delete a stream that nobody writes; in files also one whose blocks cannot be read.

    Raises StoreError; BlockCorruptError if a block in Redis is damaged.
    """
    tier_of(config.store).erase(require_stream_id(stream_id))
