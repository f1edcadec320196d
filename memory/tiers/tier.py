"""Tier: a place that streams are kept in, found by the scheme of its address.

What stands below it says of the streams at an address what their tier does.
"""

import os
import re
import socket
from collections import deque
from contextlib import closing
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from memory.block_info import Provenance
from memory.config import MemoryConfig
from memory.errors import StoreAwayError, StoreError, UnknownNameError
from memory.line_log import LineLog
from memory.registry import Registry
from memory.stream_entry import StreamEntry

if TYPE_CHECKING:
    from memory.block_store import BlockStore, FollowedSource
    from memory.tiers.redis.redis_dialogue import RedisDialogue
    from memory.tiers.redis.redis_tasks import RedisTasks

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


def writer_name() -> str:
    """This process as other ones see it write a stream."""
    return f"{socket.gethostname()}:{os.getpid()}"


StreamState = Literal["live", "stored"]


@dataclass(frozen=True)
class StoredStream:
    """`state` is live while a process writes it. `from_s` to `to_s` is what is kept, 0 without."""

    id: str
    state: StreamState
    blocks: int
    from_s: float
    to_s: float
    bytes_by_tier: dict[str, int]
    damaged: int = 0
    """Places in its files where blocks are damaged or missing; they are not counted."""
    error: str | None = None
    """Why its blocks cannot be read; then none are counted."""


@dataclass(frozen=True)
class FoundStream:
    """What made a stream, and whether a process writes it now."""

    provenance: Provenance
    state: StreamState
    note: dict[str, Any]
    """Its writer's own, see `KVMemory.set_note`."""
    note_lost: bool = False
    """Whether that is empty because what held it is damaged."""
    writer: str | None = None
    """The process that writes it, as `writer_name` gives it there, where the tier knows it."""


class Tier:
    """The streams at one address; it holds nothing open. All it does raises StoreError.

    As it stands here they end with the process that writes them, in host RAM. One whose streams
    last says so in `lasts`, and does otherwise all that stands below. Ids were checked before.
    """

    name: ClassVar[str] = ""
    """The scheme of its addresses, as `file` of file:///DIR."""
    lasts: ClassVar[bool] = False
    """Whether streams outlive the process that writes them, and other processes can read them."""
    budget: ClassVar[str | None] = None
    """The setting that bounds each stream's blocks; None: `host_bytes`."""

    def __init__(self, store: str) -> None:
        """Raises StoreError for an address that makes no sense."""
        self.store = store

    def enter(self, stream_id: str, provenance: Provenance | None) -> StreamEntry:
        """Become the one writer of a stream; None takes any provenance, and begins no stream.

        Raises FingerprintMismatchError if the stream is of another provenance.
        """
        if provenance is None:
            raise StoreError(f"store {store_name(self.store)}: holds no stream {stream_id!r}")
        return StreamEntry(provenance)

    def blocks(self, entry: StreamEntry, config: MemoryConfig) -> "BlockStore":
        """The blocks of a stream that was entered here."""
        raise NotImplementedError

    def follow(self, stream_id: str) -> "tuple[Provenance, FollowedSource]":
        """What made a stream, and its blocks, while another process may write it."""
        raise StoreError(
            f"store {store_name(self.store)}: other processes cannot read it; keep streams in "
            "file:///DIR or redis://HOST"
        )

    def ids(self) -> list[str]:
        """Of all streams, in alphabetical order, without a look at them."""
        return []

    def streams(self) -> list[StoredStream]:
        """All of them, by id, live or not. One that cannot be read says so by itself."""
        return []

    def find(self, stream_id: str) -> FoundStream | None:
        """One stream, without a look at its blocks; None if there is none."""
        return None

    def find_all(self) -> dict[str, FoundStream | StoreError]:
        """As `find`, of all streams, by id; a StoreError for one that cannot be read by itself."""
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

    def lines(self, name: str, most: int) -> LineLog | None:
        """The newest `most` lines of that name beside the streams; None where nothing lasts."""
        return None

    def dialogue(self, stream_id: str, name: str) -> "RedisDialogue | None":
        """What was said about a stream under that name; None where no dialogue is remembered."""
        return None

    def tasks(self, most: int, kept_s: float) -> "RedisTasks | None":
        """Work that outlives who does it; None where no other process could go on with it."""
        return None

    def require_there(self) -> None:
        """Raises StoreError where nothing was ever kept, as at an address that is mistyped."""

    def check(self) -> str:
        """What there is to say about it for people, if it can be used. Leaves no trace in it."""
        return store_name(self.store)


TIERS = Registry(Tier, "vstream.tiers", "tier")
_found = cache(TIERS.find)


def tier_of(store: str) -> Tier:
    """The tier at an address. Raises StoreError if there is none of its scheme."""
    shown = store_name(store)
    try:
        return _found(shown.partition(":")[0])(store)
    except UnknownNameError as error:
        raise StoreError(
            f"store {shown!r}: {error}; write memory://, file:///DIR, redis://HOST or s3://BUCKET"
        ) from error


def stored_ids(store: str) -> list[str]:
    """Ids of all streams of a store, without a look at them. Raises StoreError."""
    return tier_of(store).ids()


def stored_streams(store: str) -> list[StoredStream]:
    """All streams of a store, by id; one that cannot be read says so. Raises StoreError."""
    return tier_of(store).streams()


def find_stream(store: str, stream_id: str) -> FoundStream | None:
    """One stream of a store, without a look at its blocks; None if there is none.

    Raises StoreError, also for an id that no stream can have.
    """
    return tier_of(store).find(require_stream_id(stream_id))


def find_streams(store: str) -> dict[str, FoundStream | StoreError]:
    """All streams of a store by id, without a look at their blocks, as cheaply as can be; a
    StoreError for one that cannot be read by itself. Raises StoreError.
    """
    return tier_of(store).find_all()


def note_stored(config: MemoryConfig, stream_id: str, note: dict[str, Any]) -> None:
    """Set the note of a stream that nobody writes, whatever its blocks are. Raises StoreError."""
    with closing(tier_of(config.store).enter(require_stream_id(stream_id), None)) as entry:
        entry.set_note(note)


def erase_stored(config: MemoryConfig, stream_id: str) -> None:
    """Delete a stream that nobody writes; in files also one whose blocks cannot be read.

    Raises StoreError; BlockCorruptError if a block in Redis is damaged.
    """
    tier_of(config.store).erase(require_stream_id(stream_id))
