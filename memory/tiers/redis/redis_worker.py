"""RedisWorker: keeps this process's lease on one Redis server, which shows others it is alive.

One thread renews its key, which lives a few seconds, for all streams that the process writes. A
second thread does the streams' work after each renewal, which may take longer.
"""

import secrets
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Protocol

from memory.errors import StoreAwayError, StoreError
from memory.locks import Rank, ranked_lock
from memory.tiers.redis.redis_keys import worker_key
from memory.tiers.redis.redis_link import RedisLink
from memory.tiers.tier import writer_name

LEASE_S = 3.0
BEAT_S = 0.5
_lock = ranked_lock(Rank.REDIS_WORKERS)
"""Guards `_workers` and their contents."""
_workers: dict[str, "RedisWorker"] = {}
"""The workers of this process, by address."""


def join_worker(store: str) -> "RedisWorker":
    """Return this process's worker at that address; it lives until all that joined have left."""
    with _lock:
        worker = _workers.get(store)
        if worker is None:
            worker = _workers[store] = RedisWorker(store)
        worker.num_users += 1
    return worker


class Held(Protocol):
    """A stream that this process writes."""

    failure: StoreError | None

    def after_renewal(self, *, is_unsure: bool) -> None: ...


class RedisWorker:
    """Safe from any thread."""

    def __init__(self, store: str) -> None:
        """Start the threads; the lease begins with the first `renew`."""
        self.num_users = 0
        self.away: str | None = None
        """Why the last renewal failed, if the server may come back."""
        self.id = secrets.token_hex(8)
        self.name = f"{writer_name()} {self.id}"
        """Its name in the lease of a stream."""
        self._store = store
        self._link = RedisLink(store)
        self._give_back = self._link.script("give_back")
        self._streams: set[Held] = set()
        self._owed: set[tuple[str, str]] = set()
        """Leases to give back: for each its key and the random part of its fence."""
        self._was_renewed = False
        self._unsure_until = 0.0
        self._ended = threading.Event()
        self._renewed = threading.Event()
        self._renewing = threading.Thread(target=self._beat, name="lease", daemon=True)
        self._renewing.start()
        threading.Thread(target=self._follow, name="after lease", daemon=True).start()

    def renew(self) -> None:
        """Extend the lease. Raises StoreAwayError, StoreError.

        If it had expired, streams may have been taken: for some time, each stream is checked.
        """
        lease_ms = int(LEASE_S * 1000)
        with self._link.store_errors():
            before = self._link.client.set(
                worker_key(self.id), writer_name(), px=lease_ms, get=True
            )
        if before is None and self._was_renewed:
            self._unsure_until = time.monotonic() + 2 * LEASE_S
        self._was_renewed, self.away = True, None

    def hold(self, stream: Held) -> None:
        """Call its `after_renewal` from now on."""
        with _lock:
            self._streams.add(stream)

    def let_go(self, stream: Held, lease: str, mark: str) -> None:
        """Give its lease back, now or once the server is reachable; `mark` is its fence's random
        part.
        """
        with _lock:
            self._streams.discard(stream)
            self._owed.add((lease, mark))
        self._give_back_owed()

    def leave(self) -> None:
        """End the lease when the last user leaves."""
        with _lock:
            self.num_users -= 1
            if self.num_users:
                return
            if _workers.get(self._store) is self:
                del _workers[self._store]
        self._ended.set()
        self._renewed.set()
        self._renewing.join()
        with suppress(StoreError), self._link.store_errors():
            self._link.client.delete(worker_key(self.id))
        self._link.close()

    def _give_back_owed(self) -> None:
        with _lock:
            owed = list(self._owed)
        with suppress(StoreError), self._link.store_errors():
            for lease, mark in owed:
                self._give_back(keys=[lease], args=[mark])
                self._owed.discard((lease, mark))

    def _beat(self) -> None:
        while not self._ended.wait(BEAT_S):
            try:
                self.renew()
                self._renewed.set()
                self._give_back_owed()
            except StoreAwayError as error:
                self.away = str(error)
            except StoreError as error:
                self._fail(error)
            except Exception as error:  # noqa: BLE001  the next write raises it
                self._fail(StoreError(f"{self._link.name}: {type(error).__name__}: {error}"))

    def _fail(self, error: StoreError) -> None:
        with _lock:
            for stream in self._streams:
                stream.failure = error

    def _follow(self) -> None:
        while not self._ended.is_set():
            self._renewed.wait()
            self._renewed.clear()
            with _lock:
                streams = list(self._streams)
            for stream in streams:
                stream.after_renewal(is_unsure=time.monotonic() < self._unsure_until)


def living_writers(link: RedisLink, leases: Sequence[bytes | None]) -> list[str | None]:
    """Return the living writers of the streams with these leases as HOST:PID, in one round trip.

    A lease that names no worker is from an earlier version: it is alive while it exists.
    """
    named = [("", "") if lease is None else _named(lease) for lease in leases]
    workers = list({worker for _, worker in named if worker})
    pipeline = link.reads.pipeline(transaction=False)
    for worker in workers:
        pipeline.exists(worker_key(worker))
    with link.store_errors():
        living = dict(zip(workers, pipeline.execute(), strict=True))
    return [writer if writer and living.get(worker, True) else None for writer, worker in named]


def _named(lease: bytes) -> tuple[str, str]:
    """Return the writer and worker named by a lease: "FENCE HOST:PID WORKER"."""
    _, writer, worker = (*lease.decode().split(" "), "", "")[:3]
    return writer or "?", worker
