"""Processes over one Redis store, all of them in this one: each has a worker of its own."""

from contextlib import contextmanager

from kv_blocks import memory_of

from memory import FencedError, StoreError
from memory.tiers.redis import redis_worker
from memory.tiers.redis.redis_keys import worker_key


class WriterProcess:
    """Opens and closes streams as another process would."""

    def __init__(self, server) -> None:
        self._server = server
        self._workers: dict[str, redis_worker.RedisWorker] = {}

    @contextmanager
    def _in_it(self):
        outside, redis_worker._workers = redis_worker._workers, self._workers
        try:
            yield
        finally:
            redis_worker._workers = outside

    @property
    def worker(self):
        return self._workers.get(self._server.url)

    def open(self, stream_id="camera"):
        with self._in_it():
            return memory_of(self._server.url, stream_id=stream_id)

    def close(self, memory):
        with self._in_it():
            memory.close()

    def die(self):
        """Renew nothing any more, and give nothing back."""
        self.worker._ended.set()
        self.worker._renewing.join()

    def oversleep(self):
        """As one that was stopped for longer than its lease lasts, while nothing is renewed."""
        with self._server.client() as client:
            client.delete(worker_key(self.worker.id))

    def wake(self):
        """Do what the worker's threads do at a beat."""
        self.worker.renew()
        for stream in list(self.worker._streams):
            stream.after_renewal(is_unsure=self.worker._unsure_until > 0)


def is_refused(write) -> bool:
    """Whether the server, or what is known of it, forbids this write of a replaced writer."""
    try:
        write()
    except FencedError:
        return True
    except StoreError as error:
        raise AssertionError(f"refused for another reason: {error}") from error
    return False
