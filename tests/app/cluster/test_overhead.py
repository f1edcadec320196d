"""What the way over a cluster adds to an answer's first token, beside what Ray itself takes."""

import json
import os
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median, quantiles

import httpx
import pytest
from ray_cluster import ENVIRONMENT, PORT, RayCluster, ray_cluster, wait_for

pytestmark = [pytest.mark.soak, pytest.mark.timeout(3600)]
ROUNDS = 200
MOST_ADDED_MS = 15.0
ECHO = Path(__file__).parents[2] / "support" / "echo.py"


@contextmanager
def started(url, *command):
    """A process, once it answers at `url`."""
    process = subprocess.Popen([sys.executable, *command], env={**os.environ, **ENVIRONMENT})

    def answers():
        assert process.poll() is None
        try:
            return httpx.get(url, timeout=60).status_code == 200
        except httpx.HTTPError:
            return False

    try:
        wait_for(answers, 400)
        yield process
    finally:
        process.terminate()
        process.wait(timeout=120)


def asked(http, stream_id):
    """Milliseconds to the first word of an answer, but for the engine's own."""
    parts = [
        {"type": "video_url", "video_url": {"url": f"stream://{stream_id}?as_of_s=1.5"}},
        {"type": "text", "text": "what do you see?"},
    ]
    document = {"messages": [{"role": "user", "content": parts}], "max_tokens": 2, "stream": True}
    began, first_ms, engine_ms = time.perf_counter(), None, None
    with http.stream("POST", "/v1/chat/completions", json=document) as answer:
        for line in answer.iter_lines():
            if not line.startswith("data: {"):
                continue
            told = json.loads(line.removeprefix("data: "))
            if first_ms is None and told["choices"][0]["delta"].get("content"):
                first_ms = 1000 * (time.perf_counter() - began)
            if found := told.get("vstream"):
                engine_ms = found[0]["ttft_ms"]
    return first_ms - engine_ms


def echoed(http):
    """Milliseconds to the first of twenty events."""
    began, first_ms = time.perf_counter(), None
    with http.stream("GET", "/") as answer:
        for line in answer.iter_lines():
            if line and first_ms is None:
                first_ms = 1000 * (time.perf_counter() - began)
    return first_ms


def in_turns(*measures):
    """Quartiles of each, all of them one after the other in each round."""
    found = [[measure() for measure in measures] for _ in range(ROUNDS + 10)][10:]
    return [[round(one, 2) for one in quantiles(column)] for column in zip(*found, strict=True)]


def test_the_first_token_comes_little_later(redis, tmp_path):
    load = os.getloadavg()[0]
    urls = {how: f"http://127.0.0.1:{PORT + more}" for more, how in ((1, "uvicorn"), (2, "ray"))}
    with ExitStack() as opened:
        for how, url in urls.items():
            opened.enter_context(started(url, str(ECHO), how, url.rpartition(":")[2]))
        alone, over_ray = (
            opened.enter_context(httpx.Client(base_url=url, timeout=60)) for url in urls.values()
        )
        echo, echo_on_ray = in_turns(lambda: echoed(alone), lambda: echoed(over_ray))
    url, store = urls["uvicorn"], redis.url.replace("/0", "/1")
    serve = "-m", "app", "serve", "--no-page", "--port", str(PORT + 1), "--store", store
    with ray_cluster(redis, tmp_path, "--workers", "1") as cluster, started(f"{url}/ready", *serve):
        plain = RayCluster(None, None, url)
        for one in (plain, cluster):
            one.add_streams(["cam0"])
        service, on_cluster = in_turns(
            lambda: asked(plain.http, "cam0"), lambda: asked(cluster.http, "cam0")
        )
        plain.http.close()
    told = {
        "rounds": ROUNDS,
        "load": [load, os.getloadavg()[0]],
        "echo_ms": {"uvicorn": echo, "ray": echo_on_ray},
        "first_token_but_for_the_engine_ms": {"uvicorn": service, "cluster": on_cluster},
    }
    sys.stdout.write(f"\noverhead {json.dumps(told)}\n")
    Path("runs").mkdir(exist_ok=True)
    Path("runs/cluster_overhead.json").write_text(json.dumps(told, indent=1))
    added_ms = median(on_cluster) - median(service)
    assert added_ms < max(MOST_ADDED_MS, 2 / 3 * (median(echo_on_ray) - median(echo)))
