"""`python -m app rtsp`: many cameras into a store, for others to ask about; no questions here."""

from prometheus_client import start_http_server

from app.serve import limit_threads
from app.server.keys import ApiKeys
from app.server.service import Service
from app.server.service_log import log_to_stderr
from app.server.settings import ServiceSettings
from app.stop_signal import stopped_by_signal
from app.terminal import Terminal
from memory import store_name, tier_of
from vstream.device.free_memory import bound_arenas
from vstream.errors import SettingsError
from vstream.service.event_log import EventKind

_LOOK_S = 0.5


def keep_cameras(
    terminal: Terminal, settings: ServiceSettings, metrics_host: str, metrics_port: int | None
) -> None:
    """Watch the configured streams until SIGTERM, and say how their states change.

    Raises SettingsError where there is nothing to watch or nowhere to keep it, ModelError.
    """
    if not settings.streams:
        raise SettingsError("no cameras: give --config FILE with `streams: [...]`")
    if not tier_of(settings.memory.store).lasts:
        raise SettingsError(
            f"--store {store_name(settings.memory.store)} ends with this process; give file:///DIR "
            "or redis://HOST, where others can ask about the streams"
        )
    bound_arenas()
    log_to_stderr()
    limit_threads(settings)
    service = Service(settings, ApiKeys(None))
    if metrics_port is not None:
        try:
            server, _ = start_http_server(metrics_port, metrics_host, service.metrics.registry)
        except OSError as error:
            raise SettingsError(
                f"cannot listen on {metrics_host}:{metrics_port}: {error.strerror}"
            ) from error
        terminal.say(f"metrics at http://{metrics_host}:{server.server_port}/metrics")
    with stopped_by_signal() as stopped:
        try:
            service.load()
            if service.failure is not None:
                raise service.failure
            store = store_name(settings.memory.store)
            terminal.say(f"watching {len(service.live.streams.all())} streams into {store}")
            last_id = 0
            while not stopped.wait(_LOOK_S):
                last_id = _tell(terminal, service, last_id)
        finally:
            service.close()
    terminal.say("stopped")


def _tell(terminal: Terminal, service: Service, last_id: int) -> int:
    events, _ = service.events.since(last_id)
    for event in events:
        if event.kind is EventKind.STREAM_STATE:
            code = event.data.get("code") or ""
            terminal.document(f"{event.stream_id} {event.data['state']} {code}".rstrip())
    return events[-1].id if events else last_id
