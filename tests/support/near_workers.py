"""A cluster in one process: real workers and the ingress in one event loop, and no Ray between."""

import asyncio
import threading
import time
from contextlib import contextmanager

import uvicorn
from service import RunningService, embedded

from app.cluster.all_events import follow
from app.cluster.ingress import Ingress
from app.cluster.membership import Membership
from app.cluster.ownership import RANK_S
from app.cluster.relay import WorkerLostError
from app.cluster.worker import StreamWorker
from app.server.connections import ConnectionBounds, bounded_config, listen_on
from app.server.keys import ApiKeys
from app.server.settings import load_settings

_TELL_S = 0.05


class NearWorkers:
    """As RayWorkers. Workers in `dead` are gone, those in `leaving` only end; `falls` are to be by
    worker, after so many more messages, and `hangs` says nothing from then on instead.
    """

    def __init__(self):
        self.members = Membership()
        """As the ingress sees them."""
        self.peers = Membership()
        """As they see each other: also those that the ingress takes to be dead."""
        self.workers = {}
        self.dead = set()
        self.leaving = set()
        self.falls = {}
        self.hangs = False
        self.asked = []

    async def tell(self):
        """What Serve tells routers, of those that live."""
        while True:
            told = {
                name: one.streams for name, one in self.workers.items() if name not in self.leaving
            }
            self.peers.update(told)
            self.members.update({one: told[one] for one in told.keys() - self.dead})
            await asyncio.sleep(_TELL_S)

    async def all_watched(self):
        """As one service watches what there is once it is ready; but for what cannot be."""
        streams = next(iter(self.workers.values())).service.loaded.streams
        give_up_at = time.monotonic() + 2 * RANK_S + 1
        while [one for one in streams.known().values() if one.is_wanted and not one.is_live]:
            if time.monotonic() > give_up_at:
                return
            await asyncio.sleep(_TELL_S)

    async def acknowledge(self, worker, call_id, num):
        self.workers[worker].acknowledge({}, call_id, num)

    async def ask(self, to, call):
        ranked = self.members.ranked(to)
        if not ranked or ranked[0] in self.dead:
            raise WorkerLostError
        worker = ranked[0]
        self.asked.append((worker, call["scope"]["path"]))
        async for message in self.workers[worker].asgi(to, call):
            if (left := self.falls.get(worker)) is not None and message["type"][0] == "h":
                self.falls[worker] = left - 1
                if left <= 0:
                    del self.falls[worker]
                    if self.hangs:
                        await asyncio.Event().wait()
                    self.dead.add(worker)
                    raise WorkerLostError
            yield message


def _server(ingress, settings, bounds):
    return uvicorn.Server(
        bounded_config(
            ingress.application,
            bounds,
            ws_max_size=settings.service.max_body_bytes,
            timeout_graceful_shutdown=1,
        )
    )


@contextmanager
def near_cluster(
    store,
    names="ab",
    *,
    key=None,
    scoped=(),
    model=None,
    memory=None,
    source=None,
    bounds=None,
    config=None,
    **service,
):
    """A RunningService whose `near` are its NearWorkers; `run` has their loop run a coroutine.
    `config` has the streams, alerts and recaps of its configuration.
    """
    settings = load_settings(
        None,
        memory={"store": store, **(memory or {})},
        source=source or {},
        threads=1,
        service={"port": 0, "grace_s": 1, **service},
        **(config or {}),
    )
    keys, model = ApiKeys(key, scoped), model or embedded()
    near = NearWorkers()
    ingress = Ingress(settings, keys, near, near.members)
    listening = listen_on("127.0.0.1", 0)
    server = _server(ingress, settings, bounds or ConnectionBounds())
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    def run(work):
        return asyncio.run_coroutine_threadsafe(work, loop).result(timeout=300)

    async def begin():
        for members in (near.members, near.peers):
            members.update(dict.fromkeys(names, ()))  # each leaves the others theirs
        for name in names:
            worker = near.workers[name] = StreamWorker(settings, keys, name, near.peers)
            worker.service._load_model = lambda: model
        await asyncio.gather(*(worker.begin() for worker in near.workers.values()))
        await near.all_watched()
        serving.append(asyncio.create_task(server.serve(sockets=[listening])))
        serving.append(asyncio.create_task(near.tell()))

    async def end():
        server.should_exit = True
        await serving[0]
        serving[1].cancel()
        await asyncio.gather(*(worker.end() for worker in near.workers.values()))

    serving = []
    stop = threading.Event()
    follower = threading.Thread(target=follow, args=(store, ingress.events, stop), daemon=True)
    run(begin())
    follower.start()
    services = [worker.service for worker in near.workers.values()]
    url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    running = RunningService(services, url, key)
    running.near, running.run, running.events = near, run, ingress.events
    running.end_events = ingress.events.close
    try:
        yield running
    finally:
        stop.set()
        running.http.close()
        run(end())
        loop.call_soon_threadsafe(loop.stop)
        thread.join(timeout=10)
        follower.join(timeout=10)
        listening.close()
