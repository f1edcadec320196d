"""`vstream serve --cluster` on a Ray of its own: two workers, a Redis, and what befalls them.

Alone on the machine, as `make test` runs it: Ray gives up where it is not given time.
"""

import json
import os
import random
import re
import signal
import socket
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest
from ray_cluster import PORT, ray_cluster, wait_for
from service import endless

pytestmark = pytest.mark.cluster
STREAMS = [f"cam{number}" for number in range(6)]
EVENTS = "vstream:log:events"
MOST_GROWN_BYTES = 5 << 20


@pytest.fixture(scope="module")
def cluster(redis, tmp_path_factory):
    with ray_cluster(redis, tmp_path_factory.mktemp("cluster"), "--workers", "2") as running:
        running.add_streams(STREAMS)
        yield running


def num_routed(cluster):
    """Of all workers: calls by whether they came to the stream's own."""
    told = re.findall(
        r'vstream_routed_total{to="(\w+)",.*} (.*)', cluster.http.get("/metrics").text
    )
    found = Counter()
    for to, number in told:
        found[to] += float(number)
    return found


def in_background(running, stream_id):
    """The path of a response that takes a while."""
    asked = endless(f"{stream_id}?as_of_s=1.5")
    [question] = asked["messages"]
    shape = {"type": "json_schema", **asked["response_format"]["json_schema"]}
    wishes = {"max_output_tokens": 300, "background": True, "text": {"format": shape}}
    return f"/v1/responses/{running.post('/v1/responses', {'input': [question], **wishes})['id']}"


def ended(running, path):
    """Its state, and what it says."""
    told = running.get(path)
    return told["status"], [one["content"][0]["text"] for one in told["output"]]


def test_mixed_requests_go_to_the_owners_and_none_is_refused(cluster, request):
    """200 of them or more, by 8 clients at a time."""
    count = max(200, 10 * request.config.getoption("--kills"))
    drawn = random.Random(7)
    kinds = ["get", "timeline", "list", "search", "pause", "frame", *["ask"] * 6]

    def answer(number):
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

    wait_for(lambda: sorted(Counter(cluster.writers(STREAMS).values()).values()) == [3, 3])
    time.sleep(2)  # and routers hear of it within a second
    before = num_routed(cluster)
    with ThreadPoolExecutor(8) as clients:
        answers = list(clients.map(answer, range(count)))
    assert {one.status_code for one in answers} == {200}
    routed = num_routed(cluster)
    routed.subtract(before)
    to_owner, to_other = routed["owner"], routed["other"]
    assert to_owner + to_other >= count / 3
    assert to_owner / (to_owner + to_other) > 0.99


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_a_client_hears_the_whole_answer_of_a_worker_that_is_lost(cluster, how):
    wait_for(lambda: all(cluster.writers(STREAMS).values()) and cluster.num_workers() == 2)
    stream_id = STREAMS[0]
    blocks = cluster.blocks(stream_id)
    undisturbed, _, _ = cluster.answered(stream_id)
    looked_up = in_background(cluster, stream_id)
    wait_for(lambda: all(cluster.writers(STREAMS).values()))
    writer = cluster.writers(STREAMS)[stream_id]
    text, ids, pause_s = cluster.answered(
        stream_id, lambda number: number == 10 and os.kill(writer, how)
    )
    assert text == undisturbed
    assert len(ids) == 1
    again = in_background(cluster, stream_id)
    wait_for(lambda: {ended(cluster, looked_up)[0], ended(cluster, again)[0]} == {"incomplete"})
    assert ended(cluster, looked_up) == ended(cluster, again)
    sys.stdout.write(f"{how.name}: the longest pause was {pause_s:.1f} s\n")
    wait_for(lambda: cluster.writers(STREAMS)[stream_id] not in (None, writer))
    assert blocks <= cluster.blocks(stream_id)
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
        pids = cluster.pids("ServeReplica")
        assert len(pids) >= 2
        return {pid: psutil.Process(pid).memory_full_info().uss for pid in pids}

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
