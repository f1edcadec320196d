"""`vstream ingest`: encode a source, or the configured cameras, into a store."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress

import structlog
from prometheus_client import start_http_server

from app.model import load_model
from app.server.metrics import Metrics
from app.server.service_log import log_to_stderr
from app.server.settings import ServiceSettings
from app.stop_signal import stopped_by_signal
from app.terminal import Terminal
from memory import BlockNotFoundError, KVMemoryError, find_stream, store_name, tier_of
from vstream.device.free_memory import bound_arenas, leave_out_of_collections, return_free_memory
from vstream.errors import SettingsError, VStreamError
from vstream.ingest import IngestProgress, SeenFrame
from vstream.service.keeper_state import KeeperState
from vstream.service.stream_keeper import StreamKeeper
from vstream.service.stream_spec import SourceSpec, StreamSpec, config_of
from vstream.service.stream_status import StreamState
from vstream.sources.address import SourceKind, parse_address, stream_id_of
from vstream.sources.config import Speed

_log = structlog.get_logger()
_LOOK_S = 0.05
_STATES_S = 0.5
_TOLD_EVERY_S = 60.0
_TRIM_S = 10.0
"""How often to return freed memory to the system."""
Address = tuple[str, int]
_FAILED = (KeeperState.FAILED, KeeperState.RETRYING)


def ingest_source(
    terminal: Terminal,
    settings: ServiceSettings,
    source: str,
    stream_id: str | None,
    speed: Speed,
    metrics: Address | None,
) -> None:
    """Encode `source` into the configured store, resuming where it stopped, until it ends or
    SIGTERM. `metrics` is the address to serve metrics on. Raises VStreamError, KVMemoryError.
    """
    _require_lasting(settings)
    address = parse_address(source)
    is_file = address.kind is SourceKind.FILE
    name = stream_id_of(source) if stream_id is None else stream_id
    find_stream(settings.memory.store, name)  # raises before loading a model
    spec = StreamSpec(id=name, source=SourceSpec(url=source, speed=speed if is_file else 1.0))
    with _daemon(terminal, settings, 1, metrics) as daemon:
        keeper = daemon.open(spec)
        report = _Report(terminal, keeper)
        terminal.say(f"{address.name} -> stream {name}, {report.told} blocks stored")
        keeper.start()
        with terminal.progress(address.name, disable=not terminal.out.is_terminal) as show:

            def look() -> bool:
                report.look()
                status = keeper.status
                done = IngestProgress(
                    frames_seen=status.counts.frames_received,
                    frames_encoded=status.frames_encoded,
                    frames_duplicate=status.frames_duplicate,
                    frames_lost=status.counts.frames_stale + status.counts.frames_corrupt,
                    stream_s=status.stream_s,
                )
                show(done, str(report))
                return keeper.state not in (KeeperState.ENDED, *_FAILED)

            daemon.go_on(_LOOK_S, look)
        problem = keeper.status.problem
        if keeper.state in _FAILED and problem is not None:
            raise VStreamError(problem.message)
    report.look()
    report.tell()


def ingest_streams(terminal: Terminal, settings: ServiceSettings, metrics: Address | None) -> None:
    """Ingest the configured streams until SIGTERM, and report changes of state. If one cannot be
    opened, report it and go on with the others. Raises SettingsError without streams or a lasting
    store, ModelError, KVMemoryError if blocks could not be stored.
    """
    if not settings.streams:
        raise SettingsError("no cameras: give a SOURCE, or --config FILE with `streams: [...]`")
    _require_lasting(settings)
    log_to_stderr()
    with _daemon(terminal, settings, len(settings.streams), metrics) as daemon:
        for spec in settings.streams:
            try:
                keeper = daemon.open(spec)
                keeper.remember(spec=None, paused=False)  # now declared by the settings
                keeper.start()
            except (VStreamError, KVMemoryError) as error:
                _log.error("stream not opened", stream=spec.id, reason=str(error))
                terminal.document(f"{spec.id} error")
        leave_out_of_collections()
        store = store_name(settings.memory.store)
        terminal.say(f"ingesting {len(daemon.keepers)} streams into {store}")
        told: dict[StreamKeeper, StreamState] = {}

        def look() -> bool:
            for keeper in daemon.keepers:
                status = keeper.status
                if status.state is not told.get(keeper):
                    code = "" if status.problem is None else status.problem.code
                    terminal.document(f"{keeper.spec.id} {status.state} {code}".rstrip())
                told[keeper] = status.state
            return True

        daemon.go_on(_STATES_S, look)


def _require_lasting(settings: ServiceSettings) -> None:
    if not tier_of(settings.memory.store).lasts:
        raise SettingsError(
            f"--store {store_name(settings.memory.store)} ends with this process; name a store "
            "that lasts, e.g. file:///DIR or redis://HOST"
        )


@contextmanager
def _daemon(
    terminal: Terminal, settings: ServiceSettings, num_streams: int, metrics: Address | None
) -> "Iterator[_Daemon]":
    with stopped_by_signal() as stopped:
        daemon = _Daemon(terminal, settings, num_streams, metrics, stopped)
        with closing(daemon):
            yield daemon
        if stopped.is_set():
            terminal.say("stopped")


class _Daemon:
    """A model, the streams encoded with it, and their metrics."""

    def __init__(
        self,
        terminal: Terminal,
        settings: ServiceSettings,
        num_streams: int,
        metrics: Address | None,
        stopped: threading.Event,
    ) -> None:
        """`num_streams` share the configured host RAM. Raises SettingsError, ModelError."""
        bound_arenas()
        self._settings = settings
        self._stopped = stopped
        self._host_bytes = settings.memory.host_bytes // num_streams
        self._metrics = Metrics()
        self.keepers: list[StreamKeeper] = []
        if metrics is not None:
            host, port = metrics
            try:
                server, _ = start_http_server(port, host, self._metrics.registry)
            except OSError as error:
                raise SettingsError(f"cannot listen on {host}:{port}: {error.strerror}") from error
            terminal.say(f"metrics at http://{host}:{server.server_port}/metrics")
        self._model = load_model(terminal, settings)
        self._metrics.report_streams(self._model, lambda: self.keepers)

    def open(self, spec: StreamSpec) -> StreamKeeper:
        """Open the stream's memory. Raises what StreamKeeper raises."""
        config = config_of(spec, self._settings, self._host_bytes)

        def saw(keeper: StreamKeeper, frame: SeenFrame) -> None:
            self._metrics.saw_frame(keeper.spec.id, frame)

        self.keepers.append(StreamKeeper(spec, config, self._model, on_frame=saw))
        return self.keepers[-1]

    def go_on(self, every_s: float, look: Callable[[], bool]) -> None:
        """Call `look` every `every_s` seconds, until it returns False or SIGTERM."""
        trimmed_at = time.monotonic()
        while look() and not self._stopped.wait(every_s):
            if time.monotonic() - trimmed_at > _TRIM_S:
                return_free_memory()
                trimmed_at = time.monotonic()

    def close(self) -> None:
        """Close all streams in parallel. Raises KVMemoryError if blocks could not be stored."""
        with ThreadPoolExecutor(len(self.keepers) or 1) as pool:
            ended = [pool.submit(keeper.close) for keeper in self.keepers]
        for one in ended:
            one.result()


class _Report:
    """Reports acknowledged blocks, at most once a minute, and when the store is away."""

    def __init__(self, terminal: Terminal, keeper: StreamKeeper) -> None:
        self._terminal = terminal
        self._memory = keeper.session.memory
        self.told = self._memory.num_acknowledged
        self._away: str | None = None
        self._news = ""
        self._next_at = 0.0

    def tell(self) -> None:
        """Print the latest news; on a terminal, the progress bar shows it instead."""
        if self._news and not self._terminal.out.is_terminal:
            self._terminal.document(self._news)
        self._news, self._next_at = "", time.monotonic() + _TOLD_EVERY_S

    def look(self) -> None:
        acknowledged = self._memory.num_acknowledged
        if acknowledged > self.told:
            with suppress(BlockNotFoundError):  # just being appended
                to_s = self._memory.info(acknowledged - 1).end_s
                self.told = acknowledged
                self._news = f"acknowledged blocks={acknowledged} to_s={to_s:.3f}"
        if self._news and time.monotonic() >= self._next_at:
            self.tell()
        away = self._memory.away
        if (away is None) != (self._away is None):
            self._terminal.say(
                "the store is back" if away is None else f"{away}; new blocks wait while we retry"
            )
        self._away = away

    def __str__(self) -> str:
        waiting = self._memory.num_blocks - self.told
        text = f"{self.told} blocks acknowledged"
        return f"{text}, {waiting} wait for the store" if self._away else text
