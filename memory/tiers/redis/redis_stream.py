"""RedisStream: holds the place of one stream in Redis, and its lease with a fence.

A writer that takes a stream changes its `fence`. Every write names its writer's fence, checked in
the same script that makes the change. So the writes of two writers never mix: what the server has
acknowledged to the first was entered before the fence changed, so the second finds it; after that
the server refuses whatever the first sends, however long it was held up. A fence has a random part,
so none repeats even if the server loses data. (Lease and fencing token as in M. Kleppmann, "How to
do distributed locking", 2016.)

The lease only keeps others from taking a stream whose writer is alive. It has two parts. The key
`lease` beside the stream names its writer until that writer gives it back or another takes it. A
key of the writer's process tells whether it is alive; the process renews that key for all its
streams at once, see `redis_worker`. A process that wants a stream reads both, then has the server
replace the lease if it is still the one it read. A writer that revives in between loses the stream
but no block. The two keys need not be on one server: no script uses keys of more than one stream.

Earlier versions renew a `lease` that has a time to live and names no worker. It is honoured while
it exists, and earlier versions take no stream that has any lease.
"""

import json
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from memory.block_info import Provenance
from memory.errors import StoreAwayError, StoreError
from memory.locks import Rank, ranked_lock
from memory.stream_entry import StreamEntry
from memory.tiers.redis.redis_dialogue import drop_dialogues
from memory.tiers.redis.redis_keys import STREAMS, RedisKeys
from memory.tiers.redis.redis_link import RedisLink
from memory.tiers.redis.redis_worker import LEASE_S, RedisWorker, living_writers

FORMAT_VERSION = 1
DESCRIPTION = ("make", "note", "format_version")
"""Fields of a stream's meta hash that describe it."""
PATIENCE_S = LEASE_S + 1
"""How long to wait for a lease: its holder may have died."""


class RedisStream(StreamEntry):
    """Holds the lease from construction until `close`, or until it is fenced."""

    def __init__(
        self, link: RedisLink, worker: RedisWorker, stream_id: str, provenance: Provenance | None
    ) -> None:
        """Create the stream, or check that its provenance is this one (None: any). Leaves `worker`
        when closed, or if it cannot be opened.

        Waits as long as a lease lasts, because its holder may have died. Raises StoreError that
        names the other writer if there is one, FingerprintMismatchError.
        """
        self.keys = RedisKeys(stream_id)
        self.note: dict[str, Any] = {}
        self.failure: StoreError | None = None
        self.link = link
        self._worker = worker
        self._mark = secrets.token_hex(4)
        self._take = link.script("take")
        self._is_ours = link.script("is_ours")
        self._set_note = link.script("is_ours", "set_note")
        self.on_beat: Callable[[], None] = lambda: None
        """Called twice a second in a thread of the worker."""
        self._renewed = ranked_lock(Rank.REDIS_RENEWED)
        """Held during that call."""
        self._is_quiet = self._is_closed = False
        try:
            described = redis_description(link, stream_id)
            if described is None and provenance is None:
                raise StoreError(f"{link.name}: there is no such stream: {stream_id}")
            link.require_lasting()
            worker.renew()
            self.fence = self._taken()
            worker.hold(self)
            self.provenance = self._opened(provenance)
        except BaseException:
            self.close()
            raise

    @property
    def away(self) -> str | None:
        """Why the server was last unreachable, if it may come back."""
        return self._worker.away

    @away.setter
    def away(self, away: str | None) -> None:
        self._worker.away = away

    def set_note(self, note: dict[str, Any]) -> None:
        with self.link.store_errors():
            self._set_note(keys=self._own_keys, args=[self.fence, json.dumps(note)])
        self.note = note

    def forget_undated(self) -> None:
        drop_dialogues(self.link, self.keys)

    def erase(self) -> None:
        """Delete what is left besides the blocks."""
        self.forget_undated()
        keys = self.keys
        erase = self.link.script("is_ours", "erase")
        with self.link.store_errors():
            erase(keys=[*self._own_keys, keys.table, keys.state, keys.log], args=[self.fence])
            self.link.client.srem(STREAMS, keys.stream_id)
            if self.link.reads.exists(keys.meta):  # another writer has started it again
                self.link.client.sadd(STREAMS, keys.stream_id)

    def after_renewal(self, *, is_unsure: bool) -> None:
        """Run `on_beat`. `is_unsure`: another writer may have taken the stream; check first."""
        with self._renewed:
            if self._is_quiet or self.failure is not None:
                return
            try:
                if is_unsure:
                    with self.link.store_errors():
                        self._is_ours(keys=self._own_keys, args=[self.fence])
                self.on_beat()
            except StoreAwayError as error:
                self.away = str(error)
            except StoreError as error:
                self.failure = error
            except Exception as error:  # noqa: BLE001  the next write raises it
                self.failure = StoreError(f"{self.link.name}: {type(error).__name__}: {error}")

    def stop_beating(self) -> None:
        """Return once the worker's thread makes no more calls."""
        self._is_quiet = True
        with self._renewed:
            pass

    def close(self) -> None:
        """Give the lease back, now or as soon as possible."""
        if self._is_closed:
            return
        self._is_closed = True
        self.stop_beating()
        self._worker.let_go(self, self.keys.lease, self._mark)
        self._worker.leave()
        self.link.close()

    @property
    def _own_keys(self) -> list[str]:
        return [self.keys.lease, self.keys.meta]

    def _taken(self) -> str:
        give_up_at = time.monotonic() + PATIENCE_S
        while True:
            with self.link.store_errors():
                lease = self.link.reads.get(self.keys.lease)
            (writer,) = living_writers(self.link, [lease])
            if writer is None:
                with self.link.store_errors():
                    args = [lease or b"", self._worker.name, self._mark]
                    fence = self._take(keys=self._own_keys, args=args)
                if fence is not None:
                    return str(fence.decode())
            if time.monotonic() > give_up_at:
                raise StoreError(
                    f"{self.link.name}: stream {self.keys.stream_id} is being written by "
                    f"{writer or 'another process'}; stop that first or choose another stream id"
                )
            time.sleep(0.1)

    def _opened(self, wanted: Provenance | None) -> Provenance:
        described = redis_description(self.link, self.keys.stream_id)
        if described is None:
            assert wanted is not None
            make, described = json.dumps(asdict(wanted)), (wanted, {})
            begin = self.link.script("is_ours", "begin")
            fields = ("make", make, "format_version", FORMAT_VERSION, "note", "{}")
            with self.link.store_errors():
                begin(keys=self._own_keys, args=[self.fence, *fields])
        with self.link.store_errors():
            self.link.client.sadd(STREAMS, self.keys.stream_id)
        provenance, self.note = described
        if wanted is not None:
            wanted.require_same(provenance, f"{self.link.name}: stream {self.keys.stream_id}")
        return provenance


def redis_description(link: RedisLink, stream_id: str) -> tuple[Provenance, dict[str, Any]] | None:
    """Return a stream's provenance and note; None if there is none.

    Raises StoreError if it cannot be read or was written by a newer version.
    """
    with link.store_errors():
        values = link.reads.hmget(RedisKeys(stream_id).meta, *DESCRIPTION)
    return description_of(link, stream_id, values)


def description_of(
    link: RedisLink, stream_id: str, values: Sequence[bytes | None]
) -> tuple[Provenance, dict[str, Any]] | None:
    """Like `redis_description`, from the `values` of the fields in DESCRIPTION."""
    make, note, format_version = values
    if make is None:
        return None
    try:
        version = int(format_version or b"")
        if version > FORMAT_VERSION:
            raise StoreError(
                f"{link.name}: stream {stream_id} has format version {version}, this vstream reads "
                f"up to version {FORMAT_VERSION}; open it with the newer vstream that wrote it"
            )
        return Provenance(**json.loads(make)), json.loads(note or b"")
    except (ValueError, TypeError) as error:
        raise StoreError(
            f"{link.name}: the description of stream {stream_id} is damaged ({error})"
        ) from error
