"""build: settings in, a Ray Serve application of workers and an ingress out; serve: runs it here."""

import asyncio
import os
import threading
from collections.abc import AsyncGenerator, Mapping
from typing import TYPE_CHECKING, Any

import uvicorn

from app.cluster import membership
from app.cluster.ingress import Ingress
from app.cluster.membership import To
from app.cluster.relay import WorkerLostError
from app.cluster.shared_events import SharedEvents, follow
from app.server.connections import (
    ConnectionBounds,
    allow_descriptors,
    bounded_config,
    in_url,
    listen_on,
)
from app.server.keys import ApiKeys, master_key, refuse_bind
from app.server.settings import ServiceSettings
from app.stop_signal import stopped_by_signal
from app.terminal import Terminal
from vstream.errors import SettingsError

if TYPE_CHECKING:
    from ray.serve import Application
    from ray.serve.handle import DeploymentHandle

_ONGOING = 256
"""Calls of one worker at a time: each answer that is told is one."""
_OF_ITS_OWN = {
    "include_dashboard": False,
    "object_store_memory": 128 << 20,
    "_node_ip_address": "127.0.0.1",
}
"""What a Ray is started with where there is none."""


class RayWorkers:
    """Workers, by the handle of their deployment."""

    def __init__(self, handle: "DeploymentHandle[Any]") -> None:
        self._asgi = handle.options(method_name="asgi", stream=True)
        self._acknowledge = handle.options(method_name="acknowledge")

    async def ask(self, to: To, call: Mapping[str, Any]) -> AsyncGenerator[dict[str, Any], None]:
        from ray.exceptions import RayError
        from ray.serve.exceptions import RayServeException

        told = self._asgi.remote(to=dict(to), call=dict(call))
        try:
            async for message in told:
                yield message
        except (RayError, RayServeException) as error:
            raise WorkerLostError(str(error)) from error
        finally:
            told.cancel()

    async def acknowledge(self, worker: str, call_id: str, num: int) -> None:
        """Does not wait: what a worker that is gone does not hear costs nobody anything."""
        self._acknowledge.remote(to={"at": worker}, call_id=call_id, num=num)


def build(settings: ServiceSettings, keys: ApiKeys, workers: int = 2) -> "Application":
    """The ingress, which listens itself where `settings` say, in front of so many workers.

    Raises SettingsError for what a cluster cannot do.
    """
    import ray
    from ray import serve
    from ray.serve.config import RequestRouterConfig

    has_cards = ray.is_initialized() and ray.cluster_resources().get("GPU", 0) > 0
    has_card = settings.device.startswith("cuda") or (settings.device == "auto" and has_cards)
    _refuse(settings)
    given = settings.model_dump()

    @serve.deployment(
        name="StreamWorker",
        num_replicas=workers,
        max_ongoing_requests=_ONGOING,
        health_check_period_s=1,
        health_check_timeout_s=5,
        graceful_shutdown_timeout_s=settings.service.grace_s + 10,
        ray_actor_options={"num_cpus": 0, "num_gpus": 1 if has_card else 0},
        request_router_config=RequestRouterConfig(
            request_router_class="app.cluster.stream_router:StreamRouter",
            request_routing_stats_period_s=1,
        ),
    )
    class Worker:
        async def __init__(self) -> None:
            from app.cluster.worker import StreamWorker
            from app.model import limit_threads

            given_settings = ServiceSettings(**given)
            me = serve.get_replica_context()
            own = serve.get_deployment_handle(me.deployment, me.app_name)
            self._others = own.options(method_name="asgi")  # by it one hears who the others are
            limit_threads(given_settings)
            self._worker = StreamWorker(
                given_settings, keys, me.replica_id.unique_id, membership.MEMBERS
            )
            await self._worker.begin()

        async def asgi(self, to: To, call: Mapping[str, Any]) -> AsyncGenerator[Any, None]:
            async for message in self._worker.asgi(to, call):
                yield message

        async def acknowledge(self, to: To, call_id: str, num: int) -> None:
            self._worker.acknowledge(to, call_id, num)

        def record_routing_stats(self) -> dict[str, Any]:
            return self._worker.record_routing_stats()

        def check_health(self) -> None:
            self._worker.check_health()

        async def __del__(self) -> None:
            await self._worker.end()

    @serve.deployment(
        name="Ingress",
        max_ongoing_requests=_ONGOING,
        health_check_period_s=1,
        ray_actor_options={"num_cpus": 0},
    )
    class Door:
        async def __init__(self, handle: Any) -> None:
            given_settings = ServiceSettings(**given)
            limits = given_settings.service
            self._ingress = Ingress(given_settings, keys, RayWorkers(handle), membership.MEMBERS)
            self._stop = threading.Event()
            shared = SharedEvents(given_settings.memory.store)
            follow_on = (shared, self._ingress.events, self._stop)
            threading.Thread(target=follow, args=follow_on, name="events", daemon=True).start()
            allow_descriptors(ConnectionBounds())
            config = bounded_config(
                self._ingress.application,
                ConnectionBounds(),
                ws_max_size=limits.max_body_bytes,
                timeout_graceful_shutdown=round(limits.grace_s),
            )
            self._server = uvicorn.Server(config)
            sockets = [listen_on(limits.host, limits.port)]
            self._serving = asyncio.create_task(self._server.serve(sockets=sockets))

        def check_health(self) -> None:
            if self._serving.done():
                raise RuntimeError("the ingress listens no more")

        async def __del__(self) -> None:
            self._stop.set()
            self._server.should_exit = True
            await self._serving

    return Door.bind(Worker.bind())


def serve_cluster(terminal: Terminal, settings: ServiceSettings, workers: int) -> None:
    """Serve until a signal. Raises SettingsError."""
    limits = settings.service
    keys = ApiKeys(master_key(os.environ), limits.keys)
    refuse_bind(limits.host, keys, limits.insecure)
    _refuse(settings)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_worker_niceness", "0")  # Ray's own would have them wait for others
    try:
        import ray
        from ray import serve
    except ImportError:
        raise SettingsError("--cluster needs Ray: pip install 'vstream[cluster]'") from None
    here = {} if "RAY_ADDRESS" in os.environ else _OF_ITS_OWN
    with terminal.loading("starting Ray"):
        ray.init(log_to_driver=False, logging_level="WARNING", **here)
        serve.start(proxy_location="Disabled")
    try:
        with stopped_by_signal() as stopped, terminal.loading("loading the model of each worker"):
            serve.run(build(settings, keys, workers), name="vstream", route_prefix=None)
            terminal.say(f"listening on http://{in_url(limits.host)}:{limits.port}")
            stopped.wait()
    except KeyboardInterrupt:
        pass
    finally:
        serve.shutdown()
        ray.shutdown()
    terminal.say("stopped")


def _refuse(settings: ServiceSettings) -> None:
    """Raises SettingsError for what a cluster cannot do."""
    if not settings.memory.store.startswith(("redis", "unix")):
        raise SettingsError("--cluster needs a store that all workers share: --store redis://HOST")
    asked = {
        "recaps": settings.recaps,
        "alerts": settings.alerts,
        "streams": settings.streams,
        "service.answer_log": settings.service.answer_log,
    }
    if found := [name for name, value in asked.items() if value]:
        raise SettingsError(f"{found[0]}: not in a cluster yet; use the API")
