"""RedisStream: the place of one stream in Redis, and the right to write it: a lease with a fence.

Whoever writes holds `lease`, a key that lives for a few seconds and is renewed by a thread. Whoever
takes it changes `fence`, and every write names the fence under which its writer began: one that was
held up for longer than its lease, and was replaced meanwhile, is refused by the server itself. A
fence has a random part, so that none comes twice even if the server forgets. (Lease and fencing
token as in M. Kleppmann, "How to do distributed locking", 2016.)
"""

import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from typing import Any

from memory.errors import StoreAwayError, StoreError
from memory.provenance import Provenance
from memory.stream_entry import StreamEntry
from memory.tiers.redis.redis_dialogue import drop_dialogues
from memory.tiers.redis.redis_keys import STREAMS, RedisKeys
from memory.tiers.redis.redis_link import RedisLink

FORMAT_VERSION = 1
LEASE_S = 3.0
BEAT_S = 0.5


class RedisStream(StreamEntry):
    """Holds the lease from construction until `close`, or until it is fenced."""

    def __init__(self, link: RedisLink, stream_id: str, provenance: Provenance | None) -> None:
        """Begin the stream, or check that what is there has this provenance (None: any).

        Waits for as long as a lease lasts: its holder may have died. Raises StoreError naming the
        other writer if there is one, FingerprintMismatchError.
        """
        self.keys = RedisKeys(stream_id)
        self.note: dict[str, Any] = {}
        self.failure: StoreError | None = None
        self.away: str | None = None
        """Why the lease could not be renewed the last time, if the server may come back."""
        self.link = link
        self._owner = f"{socket.gethostname()}:{os.getpid()}"
        self._take, self._give_back = link.script("take"), link.script("give_back")
        self._renew = link.script("is_ours", "renew")
        self._set_note = link.script("is_ours", "set_note")
        self.on_beat: Callable[[], None] = lambda: None
        """Is called twice a second in the lease's thread."""
        self._ended = threading.Event()
        self._is_closed = False
        self._beating = threading.Thread(target=self._beat, name="lease", daemon=True)
        described = redis_description(link, stream_id)
        if described is None and provenance is None:
            raise StoreError(f"{link.name}: there is no such stream: {stream_id}")
        link.require_lasting()
        self.fence = self._taken()
        self._beating.start()
        try:
            self.provenance = self._opened(provenance)
        except BaseException:
            self.close()
            raise

    def set_note(self, note: dict[str, Any]) -> None:
        with self.link.told():
            self._set_note(
                keys=[self.keys.lease, self.keys.meta], args=[self.fence, json.dumps(note)]
            )
        self.note = note

    def forget_dialogues(self) -> None:
        drop_dialogues(self.link, self.keys)

    def erase(self) -> None:
        """Delete what is left beside the blocks."""
        self.forget_dialogues()
        keys = self.keys
        with self.link.told():
            pipeline = self.link.client.pipeline(transaction=True)
            pipeline.delete(keys.meta, keys.table, keys.state, keys.log)
            pipeline.srem(STREAMS, keys.stream_id)
            pipeline.execute()

    def stop_beating(self) -> None:
        """Return once the lease's thread calls nobody any more."""
        self._ended.set()
        if self._beating.is_alive():
            self._beating.join()

    def close(self) -> None:
        """Give the lease back; what cannot be given back ends by itself."""
        if self._is_closed:
            return
        self._is_closed = True
        self.stop_beating()
        with suppress(StoreError), self.link.told():
            self._give_back(keys=[self.keys.lease], args=[self.fence, self._owner])
        self.link.close()

    def _taken(self) -> str:
        keys = [self.keys.lease, self.keys.meta]
        args = [self._owner, int(LEASE_S * 1000), secrets.token_hex(4)]
        give_up_at = time.monotonic() + LEASE_S + 1
        while True:
            with self.link.told():
                fence, holder = self._take(keys=keys, args=args)
            if fence:
                return str(fence.decode())
            if time.monotonic() > give_up_at:
                writer = holder.decode().partition(" ")[2]
                raise StoreError(
                    f"{self.link.name}: stream {self.keys.stream_id} is being written by "
                    f"{writer}; stop that first or choose another stream id"
                )
            time.sleep(0.1)

    def _opened(self, wanted: Provenance | None) -> Provenance:
        described = redis_description(self.link, self.keys.stream_id)
        if described is None:
            assert wanted is not None
            make, described = json.dumps(asdict(wanted)), (wanted, {})
            fields = {"make": make, "format_version": FORMAT_VERSION, "note": "{}"}
            with self.link.told():
                self.link.client.hset(self.keys.meta, mapping=fields)
        with self.link.told():
            self.link.client.sadd(STREAMS, self.keys.stream_id)
        provenance, self.note = described
        if wanted is not None:
            wanted.require_same(provenance, f"{self.link.name}: stream {self.keys.stream_id}")
        return provenance

    def _beat(self) -> None:
        keys = [self.keys.lease, self.keys.meta]
        args = [self.fence, self._owner, int(LEASE_S * 1000)]
        while not self._ended.wait(BEAT_S) and self.failure is None:
            try:
                with self.link.told():
                    self._renew(keys=keys, args=args)
                self.away = None
                self.on_beat()
            except StoreAwayError as error:
                self.away = str(error)
            except StoreError as error:
                self.failure = error
            except Exception as error:  # noqa: BLE001  told to the next writer
                self.failure = StoreError(f"{self.link.name}: {type(error).__name__}: {error}")


def redis_description(link: RedisLink, stream_id: str) -> tuple[Provenance, dict[str, Any]] | None:
    """Make and note of a stream; None if there is none.

    Raises StoreError if it cannot be read or was written by a newer version.
    """
    with link.told():
        values = link.reads.hmget(RedisKeys(stream_id).meta, "make", "note", "format_version")
    if values[0] is None:
        return None
    try:
        version = int(values[2])
        if version > FORMAT_VERSION:
            raise StoreError(
                f"{link.name}: stream {stream_id} has format version {version}, this vstream reads "
                f"up to version {FORMAT_VERSION}; open it with the newer vstream that wrote it"
            )
        return Provenance(**json.loads(values[0])), json.loads(values[1])
    except (ValueError, TypeError) as error:
        raise StoreError(
            f"{link.name}: the description of stream {stream_id} is damaged ({error})"
        ) from error
