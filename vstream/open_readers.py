"""OpenReaders: opens StreamReaders by stream id, and keeps them open for the next question."""

from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from memory import StreamReplacedError, tier_of
from memory.locks import Rank, ranked_lock
from vstream.answer_stream import AnswerStream
from vstream.config import VStreamConfig
from vstream.errors import BusyError, QuestionError
from vstream.models.video_llm import VideoLLM
from vstream.stream_reader import StreamReader, open_reader

MAX_OPEN = 8
"""How many streams stay open; more are open only while more users read at a time."""
_LEAN_BYTES = 1 << 20


@dataclass(eq=False)
class _Shared:
    opened: Future[StreamReader] = field(default_factory=Future)
    users: int = 0

    def close(self) -> None:
        """Close it now, or as soon as it has been opened."""
        self.opened.add_done_callback(_close)


class OpenReaders:
    """Safe from any thread. The readers used last stay open."""

    def __init__(self, config: VStreamConfig, model: VideoLLM, max_users: int) -> None:
        """About `max_users` at a time share the host RAM; readers beyond that cache almost none."""
        self._shares = max(MAX_OPEN, max_users)
        self._config = with_host_bytes(config, config.memory.host_bytes // self._shares)
        self._lean = with_host_bytes(config, _LEAN_BYTES)
        self._model = model
        self._lock = ranked_lock(Rank.READERS)
        self._open: dict[str, _Shared] = {}  # in order of use

    @contextmanager
    def reader(self, stream_id: str) -> Iterator[StreamReader]:
        """Give a reader of the stream as it is now, whatever wrote it. Raises what `open_reader`
        raises. After a failure that is due to neither the question nor the load, the next call
        opens the stream again.
        """
        with suppress(StreamReplacedError), self._known(stream_id) as reader, self._model.turn:
            reader.memory.refresh()
        with self._known(stream_id) as reader:
            yield reader

    def ask(self, stream_id: str, ask: Callable[[StreamReader], AnswerStream]) -> AnswerStream:
        """Return what `ask` returns; try once more if the stream got another writer before."""
        with suppress(StreamReplacedError), self.reader(stream_id) as reader:
            return ask(reader)
        with self.reader(stream_id) as reader:
            return ask(reader)

    @contextmanager
    def _known(self, stream_id: str) -> Iterator[StreamReader]:
        with self._lock:
            known = self._open.pop(stream_id, None)
            config = self._config if len(self._open) < self._shares else self._lean
            shared = self._open[stream_id] = known or _Shared()
            shared.users += 1
        try:
            if known is None:  # without the lock, so that readers of other streams need not wait
                try:
                    shared.opened.set_result(open_reader(config, self._model, stream_id))
                except BaseException as error:
                    shared.opened.set_exception(error)
                    raise
            yield shared.opened.result()
        except (QuestionError, BusyError, CancelledError):  # not the stream's fault
            raise
        except BaseException:
            with self._lock:
                if self._open.get(stream_id) is shared:
                    del self._open[stream_id]
            raise
        finally:
            self._let_go(stream_id, shared)

    def drop(self, stream_id: str) -> None:
        """Close a deleted stream, once its present readers have finished."""
        with self._lock:
            shared = self._open.pop(stream_id, None)
            if shared is not None and not shared.users:
                shared.close()

    def close(self) -> None:
        with self._lock:
            for shared in self._open.values():
                shared.close()
            self._open.clear()

    def _let_go(self, stream_id: str, shared: _Shared) -> None:
        with self._lock:
            shared.users -= 1
            if not shared.users and self._open.get(stream_id) is not shared:
                shared.close()
            idle = [name for name, one in self._open.items() if not one.users]
            for name in idle[: max(0, len(self._open) - MAX_OPEN)]:
                self._open.pop(name).close()


def _close(opened: Future[StreamReader]) -> None:
    if opened.exception() is None:
        opened.result().close()


def with_host_bytes(config: VStreamConfig, host_bytes: int) -> VStreamConfig:
    memory = config.memory.model_copy(update={"host_bytes": host_bytes})
    return config.model_copy(update={"memory": memory})


def host_shares(config: VStreamConfig, max_streams: int) -> tuple[int, int]:
    """Return the bytes for each watched stream and for all stored ones, from `host_bytes`."""
    whole = config.memory.host_bytes
    for_stored = whole // 2 if tier_of(config.memory.store).lasts else 0
    return (whole - for_stored) // max_streams, for_stored
