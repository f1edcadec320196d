"""Twenty events over HTTP, as `python echo.py uvicorn|ray PORT` has them told: by uvicorn alone, or
by Ray Serve's proxy, out of an ingress, out of a worker, with nothing of ours in any of them.
"""

import sys
import time

import uvicorn
from starlette.applications import Starlette
from starlette.responses import StreamingResponse
from starlette.routing import Route


class Worker:
    async def told(self):
        for number in range(20):
            yield f"data: {number}\n\n"


class Ingress:
    def __init__(self, worker):
        self._told = worker.options(stream=True, method_name="told")

    async def __call__(self, request):
        return StreamingResponse(self._told.remote(), media_type="text/event-stream")


async def _alone(request):
    return StreamingResponse(Worker().told(), media_type="text/event-stream")


def _on_ray(port):
    import ray
    from ray import serve

    ray.init(include_dashboard=False, object_store_memory=128 << 20, _node_ip_address="127.0.0.1")
    serve.start(http_options={"host": "127.0.0.1", "port": port})
    few = {"ray_actor_options": {"num_cpus": 0}, "max_ongoing_requests": 256}
    ingress, worker = (serve.deployment(one, **few) for one in (Ingress, Worker))
    serve.run(ingress.bind(worker.bind()), name="echo")
    while True:
        time.sleep(60)


if __name__ == "__main__":
    how, port = sys.argv[1], int(sys.argv[2])
    if how == "ray":
        _on_ray(port)
    else:
        app = Starlette(routes=[Route("/", _alone)])
        uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning")
