"""`vstream serve --cluster` on a Ray of its own: two workers, a Redis, and what befalls them.

Alone on the machine, as `make test` runs it: Ray gives up where it is not given time.
"""

import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest
from one_thing import thing_jpeg
from own_network import own_network
from redis_servers import RedisServer, redis_binary
from service import RunningService, endless

pytestmark = pytest.mark.cluster
STREAMS = [f"cam{number}" for number in range(6)]
PORT = 8900
EVENTS = "vstream:log:events"
MOST_GROWN_BYTES = 5 << 20
ENVIRONMENT = {
    "RAY_AUTH_MODE": "disabled",
    "RAY_worker_niceness": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "HF_HUB_OFFLINE": "1",
}


@pytest.fixture(scope="module")
def redis(tmp_path_factory):
    pytest.importorskip("ray", reason="no Ray: pip install 'vstream[cluster]'")
    if redis_binary() is None:
        pytest.skip("no redis-server on PATH: apt-get install redis-server")
    with own_network():
        server = RedisServer(redis_binary(), tmp_path_factory.mktemp("redis"))
        yield server
        server.stop()


@pytest.fixture(scope="module")
def cluster(redis, tmp_path_factory):
    """A RunningService with `redis`, `pid_of` a stream's worker, and `process` of the command."""
    log = (tmp_path_factory.mktemp("cluster") / "log").open("w+")
    command = [sys.executable, "-m", "app", "serve", "--cluster", "--workers", "2"]
    process = subprocess.Popen(
        [*command, "--store", redis.url, "--port", str(PORT)],
        env={**os.environ, **ENVIRONMENT},
        stderr=log,
        stdout=log,
    )
    running = RunningService([None], f"http://127.0.0.1:{PORT}")
    running.process, running.redis = process, redis.client()
    try:
        wait_for(lambda: process.poll() is not None or listens(), 400)
        log.seek(0)
        assert process.poll() is None, log.read()
        for number, stream_id in enumerate(STREAMS):
            running.post("/v1/streams", {"id": stream_id, "source": {"type": "push"}})
            for second in range(3):
                push(running, stream_id, ("owl", "burger")[number % 2], 1000.0 + second, second / 4)
        yield running
    finally:
        running.http.close()
        running.redis.close()
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=120)
        log.close()
    assert process.returncode == 0


def listens():
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", PORT)) == 0


def wait_for(is_so, seconds=120):
    give_up_at = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < give_up_at
        time.sleep(0.1)


def push(running, stream_id, thing, at, part):
    path = f"/v1/streams/{stream_id}"
    headers = {"X-Capture-Time": f"{at:.3f}", "Content-Type": "image/jpeg"}
    told = running.http.post(f"{path}/frames", content=thing_jpeg(thing, part), headers=headers)
    assert told.json()["accepted"], told.text


def pid_of(running, stream_id):
    """Of the process that writes the stream now, as its lease has it."""
    held = running.redis.get(f"vstream:{{{stream_id}}}:lease")
    return None if held is None else int(held.decode().split()[1].rpartition(":")[2])


def num_workers(running):
    return len(set(re.findall(r'worker="(\w+)"', running.http.get("/metrics").text)))


def answered(running, stream_id, on_word=lambda number: None):
    """The text of a streamed answer about a moment, the ids that it went by, its longest pause."""
    document = endless(f"{stream_id}?as_of_s=1.5", temperature=0, max_tokens=60, stream=True)
    text, ids, longest_s, number = "", set(), 0.0, 0
    heard_at = time.monotonic()
    with running.http.stream("POST", "/v1/chat/completions", json=document) as answer:
        assert answer.status_code == 200, answer.read()
        for line in answer.iter_lines():
            if not line.startswith("data: {"):
                continue
            told = json.loads(line.removeprefix("data: "))
            assert "error" not in told, told
            longest_s = max(longest_s, time.monotonic() - heard_at)
            heard_at = time.monotonic()
            ids.add((told["id"], told["created"]))
            if told["choices"] and (word := told["choices"][0]["delta"].get("content")):
                text += word
                number += 1
                on_word(number)
    return text, ids, longest_s


def in_background(running, stream_id):
    """The path of a response that takes a while."""
    [question] = endless(f"{stream_id}?as_of_s=1.5")["messages"]
    wishes = {"temperature": 0, "max_output_tokens": 300, "background": True}
    return f"/v1/responses/{running.post('/v1/responses', {'input': [question], **wishes})['id']}"


def ended(running, path):
    """Its state, and what it says."""
    told = running.get(path)
    return told["status"], [one["content"][0]["text"] for one in told["output"]]


def test_mixed_requests_go_to_the_owners_and_none_is_refused(cluster):
    """200 of them, by 8 clients at a time."""
    drawn = random.Random(7)
    kinds = ["get", "timeline", "list", "search", "pause", "frame", *["ask"] * 6]

    def request(number):
        stream_id, kind = drawn.choice(STREAMS), drawn.choice(kinds)
        path = f"/v1/streams/{stream_id}"
        http = cluster.http
        if kind == "ask":
            parts = [
                {"type": "video_url", "video_url": {"url": f"stream://{stream_id}"}},
                {"type": "text", "text": "what do you see?"},
            ]
            asked = {"messages": [{"role": "user", "content": parts}], "max_tokens": 2}
            return http.post("/v1/chat/completions", json=asked)
        return {
            "get": lambda: http.get(path),
            "timeline": lambda: http.get(f"{path}/timeline"),
            "frame": lambda: http.get(f"{path}/frame.jpg"),
            "list": lambda: http.get("/v1/streams"),
            "search": lambda: http.post("/v1/search", json={"query": "an owl", "limit": 3}),
            "pause": lambda: http.post(f"{path}/resume"),
        }[kind]()

    wait_for(lambda: sorted(Counter(pid_of(cluster, one) for one in STREAMS).values()) == [3, 3])
    time.sleep(2)  # and routers hear of it within a second
    before = [cluster.figure("vstream_routed_total", to=who) or 0 for who in ("owner", "other")]
    with ThreadPoolExecutor(8) as clients:
        answers = list(clients.map(request, range(200)))
    assert {one.status_code for one in answers} == {200}
    after = [cluster.figure("vstream_routed_total", to=who) or 0 for who in ("owner", "other")]
    to_owner, to_other = (now - then for now, then in zip(after, before, strict=True))
    assert to_owner + to_other >= 100
    assert to_owner / (to_owner + to_other) > 0.99


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_a_client_hears_the_whole_answer_of_a_worker_that_is_lost(cluster, how):
    wait_for(lambda: all(pid_of(cluster, one) for one in STREAMS) and num_workers(cluster) == 2)
    stream_id = STREAMS[0]
    blocks = cluster.redis.hkeys(f"vstream:{{{stream_id}}}:table")
    writer = pid_of(cluster, stream_id)
    undisturbed, _, _ = answered(cluster, stream_id)
    looked_up = in_background(cluster, stream_id)
    text, ids, pause_s = answered(
        cluster, stream_id, lambda number: number == 10 and os.kill(writer, how)
    )
    assert text == undisturbed
    assert len(ids) == 1
    again = in_background(cluster, stream_id)
    wait_for(lambda: {ended(cluster, looked_up)[0], ended(cluster, again)[0]} == {"incomplete"})
    assert ended(cluster, looked_up) == ended(cluster, again)
    sys.stdout.write(f"{how.name}: the longest pause was {pause_s:.1f} s\n")
    wait_for(lambda: pid_of(cluster, stream_id) not in (None, writer))
    assert set(blocks) <= set(cluster.redis.hkeys(f"vstream:{{{stream_id}}}:table"))
    wait_for(lambda: cluster.http.get(f"/v1/streams/{stream_id}").status_code == 200)


def test_one_who_does_not_read_costs_nothing(cluster):
    def tell(number):
        told = {"id": 1, "kind": "stream.state", "stream_id": "cam0", "at": 1.0}
        told["data"] = {"state": "x" * 500}
        with cluster.redis.pipeline(transaction=False) as pipeline:
            for _ in range(number):
                pipeline.xadd(EVENTS, {"line": json.dumps(told)}, maxlen=4096, approximate=True)
            pipeline.execute()

    def bytes_of():
        there = psutil.Process(cluster.process.pid).children(recursive=True)
        named = [one for one in there if "ServeReplica" in " ".join(one.cmdline())]
        assert len(named) >= 2
        return {one.pid: one.memory_full_info().uss for one in named}

    def heard_all():
        with cluster.http.stream("GET", "/v1/events?since=-1h&kind=answer.done") as listening:
            lines = listening.iter_lines()
            assert next(lines) == ": listening"
            cluster.ask("what?", "stream://cam1", max_tokens=1)
            next(line for line in lines if "answer.done" in line)

    tell(6000)  # as many as are kept, and more
    heard_all()
    with socket.create_connection(("127.0.0.1", PORT)) as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.sendall(b"GET /v1/events HTTP/1.1\r\nHost: 127.0.0.1:8900\r\n\r\n")
        assert b"200 OK" in slow.recv(256)
        before = bytes_of()
        for _ in range(10):
            tell(2000)
            threading.Event().wait(0.5)
        heard_all()
        after = bytes_of()
    grown = {pid: after[pid] - before[pid] for pid in before.keys() & after.keys()}
    sys.stdout.write(f"grown by {[round(size / (1 << 20), 2) for size in grown.values()]} MiB\n")
    assert max(grown.values()) < MOST_GROWN_BYTES
