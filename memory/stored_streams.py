"""stored_streams: a store in, what it remembers of each stream out; the streams may be live."""

from contextlib import closing
from typing import Any

from memory.config import MemoryConfig
from memory.store_address import require_stream_id
from memory.tiers.tier import FoundStream, StoredStream, tier_of


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


def note_stored(config: MemoryConfig, stream_id: str, note: dict[str, Any]) -> None:
    """Set the note of a stream that nobody writes, whatever its blocks are. Raises StoreError."""
    with closing(tier_of(config.store).enter(require_stream_id(stream_id), None)) as entry:
        entry.set_note(note)


def erase_stored(config: MemoryConfig, stream_id: str) -> None:
    """Delete a stream that nobody writes; in files also one whose blocks cannot be read.

    Raises StoreError; BlockCorruptError if a block in Redis is damaged.
    """
    tier_of(config.store).erase(require_stream_id(stream_id))
