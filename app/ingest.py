"""`vstream ingest`: one source into a store, for others to ask about while it goes on."""

import time
from collections.abc import Callable
from contextlib import suppress

from app.model import load_model
from app.stop_signal import stopped_by_signal
from app.terminal import Terminal
from memory import BlockNotFoundError, KVMemory, find_stream, store_name, tier_of
from vstream.config import VStreamConfig
from vstream.errors import SettingsError
from vstream.ingest import IngestWorker
from vstream.open_session import open_session
from vstream.sources.address import SourceKind, parse_address
from vstream.sources.config import Speed
from vstream.sources.frame_source import open_source
from vstream.sources.stream_id import stream_id_of

_POLL_S = 0.05


def ingest_source(
    terminal: Terminal,
    config: VStreamConfig,
    source: str,
    *,
    stream_id: str | None,
    speed: Speed,
) -> None:
    """Encode `source` into the configured store, from where it was left off, to its end.

    SIGTERM ends it well. Raises VStreamError or KVMemoryError for whatever stands in the way;
    FencedError if another process has taken the stream over.
    """
    if not tier_of(config.memory.store).lasts:
        raise SettingsError(
            f"--store {store_name(config.memory.store)} ends with this process; give file:///DIR "
            "or redis://HOST, where others can ask about the stream"
        )
    if parse_address(source).kind is SourceKind.FILE:
        open_source(source, config.source).close()  # told before a model is loaded
    name = stream_id_of(source) if stream_id is None else stream_id
    find_stream(config.memory.store, name)  # told before a model is loaded, too
    model = load_model(terminal, config)
    with stopped_by_signal() as stopped, open_session(config, model, name) as session:
        worker = IngestWorker(session, source, config.source, speed=speed, keep_trying=True)
        kept = session.memory.stats()
        terminal.say(f"{worker.source_name} -> stream {name}, {kept.blocks} blocks there")
        report = _Report(terminal, session.memory)

        def enough() -> bool:
            report.look()
            return stopped.is_set() or session.memory.failure is not None

        if terminal.out.is_terminal:
            terminal.follow(worker, enough=enough, more=report.__str__)
        else:
            _follow_quietly(worker, enough)
        session.close()
        report.look()
    if session.memory.failure is not None:
        raise session.memory.failure
    if stopped.is_set():
        terminal.say("stopped")


class _Report:
    """What has been acknowledged, a line on stdout each time, and whether the store is away."""

    def __init__(self, terminal: Terminal, memory: KVMemory) -> None:
        self._terminal = terminal
        self._memory = memory
        self._told = memory.num_acknowledged
        self._away: str | None = None

    def look(self) -> None:
        acknowledged = self._memory.num_acknowledged
        if acknowledged > self._told:
            with suppress(BlockNotFoundError):  # it is just being appended
                to_s = self._memory.info(acknowledged - 1).end_s
                self._told = acknowledged
                if not self._terminal.out.is_terminal:
                    self._terminal.document(f"acknowledged blocks={acknowledged} to_s={to_s:.3f}")
        away = self._memory.away
        if (away is None) != (self._away is None):
            self._terminal.say(
                "the store is back" if away is None else f"{away}; new blocks wait, trying on"
            )
        self._away = away

    def __str__(self) -> str:
        waiting = self._memory.num_blocks - self._told
        text = f"{self._told} blocks acknowledged"
        return f"{text}, {waiting} wait for the store" if self._away else text


def _follow_quietly(worker: IngestWorker, enough: Callable[[], bool]) -> None:
    worker.start()
    try:
        while worker.is_running and not enough():
            time.sleep(_POLL_S)
    finally:
        worker.stop()
        worker.join()
