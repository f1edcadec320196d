"""OpenReaders: a stream's id in, a StreamReader of it out, kept open for the next question."""

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from memory import StoreError
from vstream.config import VStreamConfig
from vstream.stream_reader import StreamReader, open_reader
from vstream.video_llm import VideoLLM

MAX_OPEN = 8
"""So many streams are kept open; each may use this share of the host RAM that is configured."""


class OpenReaders:
    """For any number of threads. Those used last stay open."""

    def __init__(self, config: VStreamConfig, model: VideoLLM) -> None:
        share = config.memory.host_bytes // MAX_OPEN
        self._config = config.model_copy(
            update={"memory": config.memory.model_copy(update={"host_bytes": share})}
        )
        self._model = model
        self._lock = threading.Lock()
        self._open: dict[str, StreamReader] = {}  # in order of use
        self._users: Counter[str] = Counter()

    @contextmanager
    def reader(self, stream_id: str) -> Iterator[StreamReader]:
        """The stream as it is now. Raises what `open_reader` raises.

        One that failed to be read is opened anew the next time.
        """
        with self._lock:
            reader = self._open.pop(stream_id, None)
            if reader is None:
                reader = open_reader(self._config, self._model, stream_id)
            self._open[stream_id] = reader
            self._users[stream_id] += 1
        failed = False
        try:
            yield reader
        except StoreError:
            failed = True
            raise
        finally:
            self._let_go(stream_id, failed)

    def close(self) -> None:
        with self._lock:
            for reader in self._open.values():
                reader.close()
            self._open.clear()

    def _let_go(self, stream_id: str, failed: bool) -> None:
        with self._lock:
            self._users[stream_id] -= 1
            idle = [name for name in self._open if not self._users[name]]
            surplus = idle[: max(0, len(self._open) - MAX_OPEN)]
            if failed and stream_id in idle and stream_id not in surplus:
                surplus.append(stream_id)
            for name in surplus:
                self._open.pop(name).close()
                del self._users[name]
