"""RedisBlocks: reads the blocks of one stream from Redis.

One layer of a block is one field, read by a plain HGET in short pipelines: deep pipelines and
multi-key commands measured slower.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from memory.block_record import BlockHead, BlockRecord, RecordHeader, StoredHead, verify_crc32
from memory.block_store import Changes, FollowedSource
from memory.errors import BlockNotFoundError, StoreError, StreamReplacedError
from memory.policy_hooks import State
from memory.tiers.redis.redis_keys import THUMBNAIL, RedisKeys
from memory.tiers.redis.redis_link import RedisLink

PIPELINE = 4
CRC32_BYTES = 4
_TABLE_BATCH = 500


@dataclass(frozen=True, eq=False)
class PlacedBlock:
    """Where a block lies in Redis, and what its parts must match."""

    key: str
    stored: StoredHead
    num_bytes: int
    picture_bytes: int


class RedisBlocks:
    """The reading half of the stores in Redis."""

    name = "redis"
    num_bytes = 0
    """The size of the records; Redis itself takes some percent more."""
    picture_bytes = 0

    def __init__(self, link: RedisLink, keys: RedisKeys) -> None:
        self._link = link
        self._keys = keys
        self._placed: dict[int, PlacedBlock] = {}  # in order of ids
        self.next_id = 0

    def read_rows(self, layer: int, block_ids: Sequence[int]) -> list[bytes]:
        fields = self._fields([(block_id, str(layer)) for block_id in block_ids])
        for block_id, row in zip(block_ids, fields, strict=True):
            expected = self._placed[block_id].stored.crc32s[2 + layer]
            verify_crc32(row, expected, f"{self._where(block_id)}, layer {layer}")
        return fields

    def read_thumbnails(self, block_ids: Sequence[int]) -> list[bytes]:
        thumbnails = self._fields([(block_id, THUMBNAIL) for block_id in block_ids])
        for block_id, thumbnail in zip(block_ids, thumbnails, strict=True):
            expected = self._placed[block_id].stored.crc32s[1]
            verify_crc32(thumbnail, expected, f"{self._where(block_id)}, thumbnail")
        return thumbnails

    def read_record(self, block_id: int) -> BlockRecord:
        placed = self._known(block_id)
        with self._link.store_errors():
            entry = self._link.reads.hget(self._keys.table, str(block_id))
            generation, _, head = (entry or b"").partition(b"\n")
            key = self._keys.block(block_id, generation.decode())
            fields = self._link.reads.hgetall(key)
        if not fields:
            raise self._gone(block_id)
        layers = placed.stored.head.provenance.layers
        rows = [fields.get(str(layer).encode(), b"") for layer in range(layers)]
        record = b"".join((head, fields.get(THUMBNAIL.encode(), b""), *rows))
        return BlockRecord.from_bytes(record, self._where(block_id))

    def state(self) -> State:
        with self._link.store_errors():
            found = self._link.reads.hgetall(self._keys.state)
        for name, value in found.items():
            crc32 = int.from_bytes(value[:CRC32_BYTES], "little")
            where = f"{self._link.name}: stream {self._keys.stream_id}: note {name.decode()!r}"
            verify_crc32(value[CRC32_BYTES:], crc32, where)
        return {name.decode(): value[CRC32_BYTES:] for name, value in found.items()}

    def leave_out(self, block_id: int) -> None:
        self._lose(block_id)

    def close(self) -> None:
        self._link.close()

    def _load(self, next_id: int) -> dict[int, bytes]:
        """Return all table entries with ids below `next_id`, which was read before.

        A scan may miss entries added while it runs, and find some added later still.
        """
        with self._link.store_errors():
            found = self._link.reads.hscan_iter(self._keys.table, count=_TABLE_BATCH)
            entries = {int(block_id): entry for block_id, entry in found}
        return {block_id: entry for block_id, entry in entries.items() if block_id < next_id}

    def _place(self, block_id: int, entry: bytes) -> BlockHead:
        """Record where a block lies, as its table entry says. Raises BlockCorruptError."""
        where = self._where(block_id)
        generation, _, head = entry.partition(b"\n")
        header = RecordHeader.from_bytes(head, where)
        stored = StoredHead.from_bytes(header, head, where, block_id)
        key = self._keys.block(block_id, generation.decode())
        sizes = header.record_bytes, header.thumbnail_bytes
        old = self._placed.get(block_id)
        self.num_bytes += sizes[0] - (old.num_bytes if old else 0)
        self.picture_bytes += sizes[1] - (old.picture_bytes if old else 0)
        self._placed[block_id] = PlacedBlock(key, stored, *sizes)
        return stored.head

    def _lose(self, block_id: int) -> None:
        old = self._placed.pop(block_id, None)
        if old is not None:
            self.num_bytes -= old.num_bytes
            self.picture_bytes -= old.picture_bytes

    def _fields(self, wanted: Sequence[tuple[int, str]]) -> list[bytes]:
        """Read one field of each block. Raises BlockNotFoundError, StoreError."""
        found: list[bytes] = []
        for start in range(0, len(wanted), PIPELINE):
            few = wanted[start : start + PIPELINE]
            pipeline = self._link.reads.pipeline(transaction=False)
            for block_id, field in few:
                pipeline.hget(self._known(block_id).key, field)
            with self._link.store_errors():
                values = pipeline.execute()
            for (block_id, _), value in zip(few, values, strict=True):
                if value is None:
                    raise self._gone(block_id)
                found.append(value)
        return found

    def _known(self, block_id: int) -> PlacedBlock:
        try:
            return self._placed[block_id]
        except KeyError:
            raise self._gone(block_id) from None

    def _gone(self, block_id: int) -> BlockNotFoundError:
        return BlockNotFoundError(f"{self._where(block_id)}: is not kept (any more)")

    def _where(self, block_id: int) -> str:
        return f"{self._link.name}: stream {self._keys.stream_id}: block {block_id}"


class RedisFollower(RedisBlocks, FollowedSource):
    """Reads only."""

    def __init__(self, link: RedisLink, keys: RedisKeys) -> None:
        super().__init__(link, keys)
        self._version = 0
        self._fence: bytes | None = None

    def changes(self) -> Changes:
        """Raises StoreError if the stream is gone, StreamReplacedError if it was taken over."""
        with self._link.store_errors():
            version, next_id, fence = self._link.reads.hmget(
                self._keys.meta, "version", "next_id", "fence"
            )
        if fence is None:
            raise StoreError(f"{self._link.name}: stream {self._keys.stream_id} is gone")
        if self._fence not in (None, fence):
            raise StreamReplacedError(
                f"{self._link.name}: stream {self._keys.stream_id} has a new writer; open it again"
            )
        self._fence = fence
        version, next_id = int(version or 0), int(next_id or 0)
        if version == self._version:
            return Changes()
        touched = self._touched_since(version)
        entries = self._load(next_id) if touched is None else self._entries(touched)
        lost = set(self._placed if touched is None else touched) - set(entries)
        gone = [block_id for block_id in lost if block_id in self._placed]
        for block_id in gone:
            self._lose(block_id)
        heads = [self._place(block_id, entries[block_id]) for block_id in sorted(entries)]
        self._version = version
        self.next_id = max(self.next_id, next_id, *(head.block_id + 1 for head in heads))
        return Changes(heads, gone)

    def _touched_since(self, version: int) -> list[int] | None:
        """Return ids that changed after the last look; None if the log does not go back that far.

        May include changes after `version`, which the next look will find again.
        """
        missing = version - self._version
        if not self._version or missing < 0:
            return None
        with self._link.store_errors():
            found = self._link.reads.xrevrange(self._keys.log, count=missing + 64)
        logged = {int(fields[b"version"]): fields[b"ids"] for _, fields in found}
        wanted = range(self._version + 1, version + 1)
        if not all(number in logged for number in wanted):
            return None
        ids = [ids for number, ids in logged.items() if number > self._version]
        return sorted({int(block_id) for text in ids for block_id in text.split()})

    def _entries(self, block_ids: list[int]) -> dict[int, bytes]:
        with self._link.store_errors():
            found = self._link.reads.hmget(self._keys.table, [str(i) for i in block_ids])
        return {i: entry for i, entry in zip(block_ids, found, strict=True) if entry is not None}
