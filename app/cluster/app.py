"""build: make a Ray Serve application of workers and ingresses; `serve_cluster` runs it."""

import asyncio
import logging
import os
import threading
from collections.abc import AsyncGenerator, Mapping
from typing import TYPE_CHECKING, Any

import uvicorn

from app.cluster import membership
from app.cluster.all_events import follow
from app.cluster.ingress import Ingress
from app.cluster.membership import To
from app.cluster.relay import WorkerLostError
from app.cluster.scaling import DELAYS_S
from app.server.connections import (
    ConnectionBounds,
    allow_descriptors,
    bounded_config,
    in_url,
    listen_on,
)
from app.server.keys import ApiKeys, master_key, refuse_bind
from app.server.service_log import log_to_stderr
from app.server.settings import ServiceSettings, load_settings
from app.stop_signal import stopped_by_signal
from app.terminal import Terminal
from vstream.errors import SettingsError

if TYPE_CHECKING:
    from ray.serve import Application

_ONGOING = 256
"""Calls to one worker at a time: each answer being streamed is one."""
_INGRESSES = 2
"""At one port: one goes on when the other dies or is replaced."""
_END_S = 15.0
"""For giving streams away, once running answers have had their time."""
_UNHEALTHY_S = 20.0
"""Serve replaces a process that does not answer three times in a row. Be patient: others take the
streams and answers of one that hangs after 3 s, and one that has just taken many may be slow.
"""
_OWN_RAY: dict[str, Any] = {
    "include_dashboard": False,
    "object_store_memory": 128 << 20,
    "_node_ip_address": "127.0.0.1",
}
"""How to start a Ray of our own."""


class RayWorkers:
    """Reaches the workers by the handle of their deployment."""

    def __init__(self, handle: Any) -> None:
        self._asgi = handle.options(method_name="asgi", stream=True)
        self._acknowledge = handle.options(method_name="acknowledge")

    async def ask(self, to: To, call: Mapping[str, Any]) -> AsyncGenerator[dict[str, Any], None]:
        from ray.exceptions import RayError
        from ray.serve.exceptions import RayServeException

        messages = self._asgi.remote(to=dict(to), call=dict(call))
        try:
            async for message in messages:
                yield message
        except (RayError, RayServeException) as error:
            raise WorkerLostError(str(error)) from error
        finally:
            messages.cancel()

    async def acknowledge(self, worker: str, call_id: str, num: int) -> None:
        """Do not wait: a dead worker needs no acknowledgement."""
        self._acknowledge.remote(to={"at": worker}, call_id=call_id, num=num)


class WorkerReplica:
    """Runs a StreamWorker as a replica of Serve."""

    async def __init__(self, given: dict[str, Any], keys: ApiKeys) -> None:  # type: ignore[misc]
        from ray import serve

        from app.cluster.worker import StreamWorker
        from app.model import limit_threads

        log_to_stderr()
        settings = ServiceSettings(**given)
        limit_threads(settings)
        me = serve.get_replica_context()
        own = serve.get_deployment_handle(me.deployment, me.app_name)
        self._others = own.options(method_name="asgi")
        """Kept because the handle's router learns who the other workers are."""
        name = me.replica_id.unique_id
        self._worker = StreamWorker(settings, keys, name, membership.MEMBERS)
        await self._worker.begin()

    async def asgi(self, to: To, call: Mapping[str, Any]) -> AsyncGenerator[dict[str, Any], None]:
        async for message in self._worker.asgi(to, call):
            yield message

    async def acknowledge(self, to: To, call_id: str, num: int) -> None:
        self._worker.acknowledge(to, call_id, num)

    def record_routing_stats(self) -> dict[str, Any]:
        return {"streams": self._worker.streams}

    def record_autoscaling_stats(self) -> dict[str, float]:
        return {"load": self._worker.load}

    def check_health(self) -> None:
        self._worker.check_health()

    async def __del__(self) -> None:
        await self._worker.end()


class IngressReplica:
    """Runs an Ingress as a replica of Serve. It listens itself: Serve's own proxy takes messages as
    fast as they come, so a client that does not read would cost memory for all that it is sent.
    """

    async def __init__(self, handle: Any, given: dict[str, Any], keys: ApiKeys) -> None:  # type: ignore[misc]
        log_to_stderr()
        settings = ServiceSettings(**given)
        limits = settings.service
        ingress = Ingress(settings, keys, RayWorkers(handle), membership.MEMBERS)
        self._stop = threading.Event()
        self._events = ingress.events
        followed = settings.memory.store, self._events, self._stop
        threading.Thread(target=follow, args=followed, name="events", daemon=True).start()
        allow_descriptors(ConnectionBounds())
        config = bounded_config(
            ingress.application,
            ConnectionBounds(),
            ws_max_size=limits.max_body_bytes,
            timeout_graceful_shutdown=round(limits.grace_s),
        )
        self._server = uvicorn.Server(config)
        listening = listen_on(limits.host, limits.port, shared=True)
        self._serving = asyncio.create_task(self._server.serve(sockets=[listening]))

    def check_health(self) -> None:
        """Raises RuntimeError."""
        if self._serving.done():
            raise RuntimeError("the ingress has stopped listening")

    async def __del__(self) -> None:
        self._stop.set()
        self._events.close()
        self._server.should_exit = True
        await self._serving


def from_environment(_: dict[str, str]) -> "Application":
    """Build from the settings and the key in the environment. Serve's own configuration files, such
    as KubeRay's, name this function. Raises SettingsError.
    """
    settings = load_settings(None)
    return build(settings, _keys(settings))


def build(
    settings: ServiceSettings, keys: ApiKeys, workers: int = 2, most_workers: int | None = None
) -> "Application":
    """Return ingresses on this machine, which listen where `settings` say, and workers behind them.

    There are `workers` of them, or up to `most_workers` under load; each takes one of the CPUs that
    Ray counts. Ray must be running. Raises SettingsError for what a cluster cannot do.
    """
    import ray
    from ray import serve
    from ray.serve.config import RequestRouterConfig

    _refuse(settings)
    if most_workers is None:
        number: dict[str, Any] = {"num_replicas": workers}
    elif most_workers < workers:
        raise SettingsError(f"--max-workers must be at least {workers}, the number of --workers")
    else:
        policy = {"policy_function": "app.cluster.scaling:by_load"}
        between = {"min_replicas": workers, "max_replicas": most_workers}
        number = {"autoscaling_config": {**between, **DELAYS_S, "policy": policy}}
    given, device = settings.model_dump(), settings.device
    has_gpus = ray.cluster_resources().get("GPU", 0) > 0
    is_on_gpu = device.startswith("cuda") or (device == "auto" and has_gpus)
    lives: dict[str, Any] = {
        "max_ongoing_requests": _ONGOING,
        "health_check_period_s": 1,
        "health_check_timeout_s": _UNHEALTHY_S,
        "graceful_shutdown_timeout_s": settings.service.grace_s + _END_S,
        "graceful_shutdown_wait_loop_s": 0.2,
    }
    routing: dict[str, Any] = {
        "request_router_class": "app.cluster.stream_router:StreamRouter",
        "request_routing_stats_period_s": 1,
    }
    worker: Any = serve.deployment(
        WorkerReplica,
        name="StreamWorker",
        **number,
        ray_actor_options={"num_cpus": 1, "num_gpus": int(is_on_gpu)},
        request_router_config=RequestRouterConfig(**routing),
        **lives,
    )
    here = {"ray.io/node-id": ray.get_runtime_context().get_node_id()}
    ingress: Any = serve.deployment(
        IngressReplica,
        name="Ingress",
        num_replicas=_INGRESSES,
        ray_actor_options={"num_cpus": 0, "label_selector": here},
        **lives,
    )
    whole: Application = ingress.bind(worker.bind(given, keys), given, keys)
    return whole


def serve_cluster(
    terminal: Terminal, settings: ServiceSettings, workers: int, most_workers: int | None = None
) -> None:
    """Serve until a signal, on the Ray at RAY_ADDRESS or one of its own. Raises SettingsError."""
    limits, keys = settings.service, _keys(settings)
    _refuse(settings)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_worker_niceness", "0")  # Ray's default lets other processes go first
    try:
        import ray
        from ray import serve
    except ImportError:
        raise SettingsError("--cluster needs Ray: pip install 'vstream[cluster]'") from None
    is_own = "RAY_ADDRESS" not in os.environ
    here = {**_OWN_RAY, "num_cpus": most_workers or workers} if is_own else {}
    if is_own:
        listen_on(limits.host, limits.port).close()  # fail now if the port is taken
    with terminal.loading("starting Ray"):
        ray.init(log_to_driver=False, logging_level=logging.WARNING, **here)
        serve.start(proxy_location="Disabled")
    try:
        with stopped_by_signal() as stopped:
            whole = build(settings, keys, workers, most_workers)
            with terminal.loading("loading the model of each worker"):
                serve.run(whole, name="vstream", route_prefix=None)
            terminal.say(f"listening on http://{in_url(limits.host)}:{limits.port}")
            stopped.wait()
    except KeyboardInterrupt:
        pass
    except RuntimeError as error:  # from Serve, after three tries
        raise SettingsError(f"the cluster did not start: {error}") from error
    finally:
        serve.shutdown()
        ray.shutdown()
    terminal.say("stopped")


def _keys(settings: ServiceSettings) -> ApiKeys:
    """Return the API's keys. Raises SettingsError if others could reach a service without one."""
    limits = settings.service
    keys = ApiKeys(master_key(os.environ), limits.keys)
    refuse_bind(limits.host, keys, limits.insecure)
    return keys


def _refuse(settings: ServiceSettings) -> None:
    """Raises SettingsError for what a cluster cannot do."""
    if not settings.memory.store.startswith(("redis", "unix", "sentinel")):
        raise SettingsError("--cluster needs a store that all workers share: --store redis://HOST")
    if settings.service.port == 0:
        raise SettingsError("--cluster needs a fixed port such as 8900: all ingresses listen there")
