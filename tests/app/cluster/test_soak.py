"""What befalls a cluster in a long time: its processes are killed, it is updated, it grows.

`make soak CLUSTER=1`, or `--kills N`. What was counted so far is in runs/cluster_soak.json.
"""

import json
import os
import platform
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from statistics import median

import httpx
import psutil
import pytest
import redis as redis_client
from cluster_watch import Watch
from ray_cluster import PORT, num_listening, ray_cluster, wait_for
from service import endless

pytestmark = [pytest.mark.soak, pytest.mark.timeout(4 * 3600)]
STREAMS = [f"cam{number:02}" for number in range(20)]
VICTIMS = ("worker", "hung", "ingress", "controller", "redis", *["worker"] * 5)
PATHS = ("/v1/chat/completions", "/v1/responses")
ASKERS = 16
"""As many as two workers have places for: both are full."""
PATIENT_S = 600
"""For what comes in seconds where a machine has nothing else to do."""
RESTARTED_S = 1.0
QUICKLY = """
import sys
from app.cluster.scaling import DELAYS_S
DELAYS_S.update(upscale_delay_s=5, downscale_delay_s=20)
"""
SERVE = f"""{QUICKLY}
from app.cli import main
sys.argv[0] = "vstream"
main()
"""
UPDATE = f"""{QUICKLY}
import ray
from ray import serve
from app.cluster.app import build
from app.server.keys import ApiKeys
from app.server.settings import load_settings
ray.init(address=sys.argv[1], log_to_driver=False)
settings = load_settings(None, memory={{"store": sys.argv[2]}}, service={{"port": {PORT}}})
serve.run(build(settings, ApiKeys(None), 2, 3), name="vstream", route_prefix=None)
"""


@pytest.fixture(scope="module")
def figures():
    found = {
        "date": time.strftime("%Y-%m-%d"),
        "machine": f"{platform.machine()}, {psutil.cpu_count()} cores",
        "load_at_begin": os.getloadavg()[0],
        **{name: version(name) for name in ("ray", "torch", "transformers")},
    }
    yield found
    write(found)
    sys.stdout.write(f"\ncluster {json.dumps(found)}\n")


def write(figures):
    """Also after each kill: a run that is stopped counts for what it did."""
    figures["load_at_end"] = os.getloadavg()[0]
    path = Path("runs/cluster_soak.json")
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(figures, indent=1))


@pytest.fixture(scope="module")
def cluster(redis, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("VSTREAM_SERVICE__MAX_STREAMS", "40")
        patched.setenv("VSTREAM_SERVICE__MAX_RUNNING", "8")
        more = "serve", "--cluster", "--workers", "2", "--max-workers", "3"
        folder = tmp_path_factory.mktemp("cluster")
        with ray_cluster(redis, folder, command=("-c", SERVE, *more)) as running:
            running.add_streams(STREAMS)
            yield running


def kept(cluster):
    """What is acknowledged now."""
    return {one: cluster.blocks(one) for one in STREAMS}


def num_lost(cluster, before):
    return sum(len(blocks - cluster.blocks(one)) for one, blocks in before.items())


def all_watched(cluster):
    there = set(cluster.pids("StreamWorker"))
    return there.issuperset(cluster.writers(STREAMS).values())


def is_whole(cluster):
    """Two ingresses, two workers or more that answer, and every stream with one of them."""
    try:
        return num_listening() == 2 and cluster.num_workers() >= 2 and all_watched(cluster)
    except (httpx.HTTPError, redis_client.RedisError):
        return False


def kill(cluster, redis, victim, stream_id):
    """Its pid."""
    writer = cluster.writers(STREAMS)[stream_id]
    if victim == "redis":
        redis.kill()
        threading.Timer(RESTARTED_S, redis.start).start()
        return redis.process.pid
    names = {"ingress": "Ingress", "controller": "ServeController"}
    pid = cluster.pids(names[victim])[-1] if victim in names else writer
    os.kill(pid, signal.SIGSTOP if victim == "hung" else signal.SIGKILL)
    return pid


def befall(cluster, redis, victim, stream_id, path, right):
    """One kill in the middle of an answer: what was seen of it, and what was wrong."""
    told, at = {"victim": victim, "path": path}, {}

    def on_word(number):
        if number == 10:
            at.update(kept=kept(cluster), writers=cluster.writers(STREAMS))
            at.update(s=time.monotonic(), pid=kill(cluster, redis, victim, stream_id))

    with Watch(cluster, STREAMS, period_s=4) as watch:
        try:
            text, ids, told["pause_s"] = cluster.answered(stream_id, on_word, path)
            told["answer"] = "whole" if (text, len(ids)) == (right, 1) else "wrong"
        except httpx.HTTPError:
            told["answer"] = "cut"
        is_dead = victim in ("worker", "hung")
        dead = {one for one, pid in at["writers"].items() if is_dead and pid == at["pid"]}
        wait_for(lambda: dead <= {one for s, one, *_ in watch.moves if s > at["s"]}, PATIENT_S)
        if victim == "hung":
            os.kill(at["pid"], signal.SIGCONT)  # what it still writes is refused
        wait_for(lambda: is_whole(cluster), PATIENT_S)
    told["whole_again_s"] = time.monotonic() - at["s"]
    told["blocks"] = sum(map(len, at["kept"].values()))
    told["lost"] = num_lost(cluster, at["kept"])
    moves = [one for one in watch.moves if one[0] > at["s"]]
    moved_s = [s - at["s"] for s, one, before, _ in moves if before == at["pid"] and one in dead]
    told["moved"], told["of_the_dead"] = len(moved_s), len(dead)
    told["balanced"] = len(moves) - len(moved_s)
    told["moved_s"] = (min(moved_s), max(moved_s)) if moved_s else None
    told["refused"], told["gap_s"] = watch.refused, max(watch.gaps_s.values())
    return told


def summary(rounds):
    pauses = [one["pause_s"] for one in rounds if "pause_s" in one]
    moved = [one["moved_s"] for one in rounds if one["moved_s"]]
    again = [one["whole_again_s"] for one in rounds]
    return {
        "kills": len(rounds),
        "answers": Counter(one["answer"] for one in rounds),
        "pause_s": pauses and (median(pauses), max(pauses)),
        "moved": sum(one["moved"] for one in rounds),
        "of_the_dead": sum(one["of_the_dead"] for one in rounds),
        "balanced": sum(one["balanced"] for one in rounds),
        "gap_s": max(one["gap_s"] for one in rounds),
        "first_s": moved and (median(one[0] for one in moved), max(one[0] for one in moved)),
        "last_s": moved and (median(one[1] for one in moved), max(one[1] for one in moved)),
        "whole_again_s": (median(again), max(again)),
        "blocks": sum(one["blocks"] for one in rounds),
        "lost": sum(one["lost"] for one in rounds),
    }


def test_whatever_is_killed_nothing_acknowledged_is_lost(cluster, redis, figures, request):
    kills, drawn = request.config.getoption("--kills"), random.Random(7)
    wait_for(lambda: is_whole(cluster), PATIENT_S)
    rights, rounds = {}, []
    for number in range(kills):
        asked = drawn.choice(STREAMS), PATHS[number % 2]
        if asked not in rights:
            rights[asked] = cluster.answered(asked[0], path=asked[1])[0]
        victim = VICTIMS[number % len(VICTIMS)]
        told = befall(cluster, redis, victim, *asked, rights[asked])
        rounds.append(told)
        sys.stdout.write(f"{number + 1}: {json.dumps(told)}\n")
        figures["kills"] = {
            one: summary([told for told in rounds if told["victim"] == one])
            for one in dict.fromkeys(told["victim"] for told in rounds)
        }
        write(figures)
        assert told["lost"] == 0
        assert told["moved"] == told["of_the_dead"]
        # One each 10 s, and one that was on its way.
        assert told["balanced"] <= 2 + told["whole_again_s"] / 10
        assert told["answer"] == "whole" or (victim, told["answer"]) == ("ingress", "cut")
    for (stream_id, path), right in rights.items():
        assert cluster.answered(stream_id, path=path)[0] == right


def test_an_update_loses_nothing(cluster, redis, figures):
    wait_for(lambda: is_whole(cluster), PATIENT_S)
    right, wrong, asked = cluster.answered(STREAMS[0])[0], 0, Counter()
    before, old = kept(cluster), set(cluster.pids("StreamWorker"))
    began = time.monotonic()
    with Watch(cluster, STREAMS, period_s=1) as watch:
        update = subprocess.Popen([sys.executable, "-c", UPDATE, cluster.address, redis.url])
        while update.poll() is None:
            try:
                asked["answered"] += 1
                wrong += cluster.answered(STREAMS[0])[0] != right
            except (httpx.HTTPError, AssertionError):
                asked["refused"] += 1
                time.sleep(0.2)
        assert update.returncode == 0
        took_s = time.monotonic() - began

        def spread():
            return sorted(Counter(cluster.writers(STREAMS).values()).values())

        wait_for(lambda: not old & set(cluster.writers(STREAMS).values()), PATIENT_S)
        even_s = wait_for(lambda: len(spread()) >= 2 and spread()[-1] <= 12, PATIENT_S)
    figures["update"] = {
        "took_s": took_s,
        "even_after_s": even_s,
        "moves": len(watch.moves),
        "gap_s": (median(watch.gaps_s.values()), max(watch.gaps_s.values())),
        "pushes_refused": watch.refused,
        "questions": asked,
        "wrong": wrong,
        "blocks": sum(map(len, before.values())),
        "lost": num_lost(cluster, before),
    }
    assert figures["update"]["lost"] == wrong == 0


def test_workers_come_with_load_and_go_without(cluster, figures):
    wait_for(lambda: is_whole(cluster) and cluster.num_workers() == 2, PATIENT_S)
    before, is_over, codes = kept(cluster), threading.Event(), Counter()

    def ask(number):
        while not is_over.is_set():
            document = endless(STREAMS[number % len(STREAMS)], temperature=0, max_tokens=100)
            told = cluster.http.post("/v1/chat/completions", json=document, timeout=PATIENT_S)
            codes[told.status_code] += 1

    with ThreadPoolExecutor(ASKERS) as askers, Watch(cluster, STREAMS, period_s=4) as watch:
        asking = askers.map(ask, range(ASKERS))
        try:
            up_s = wait_for(lambda: cluster.num_workers() == 3, PATIENT_S)
            joined_s = wait_for(lambda: len(set(cluster.writers(STREAMS).values())) == 3, PATIENT_S)
        finally:
            is_over.set()
        list(asking)
        down_s = wait_for(lambda: len(cluster.pids("StreamWorker")) == 2, PATIENT_S)
        wait_for(lambda: is_whole(cluster), PATIENT_S)
    figures["scaling"] = {
        "up_s": up_s,
        "first_stream_s": joined_s,
        "down_s": down_s,
        "answers": codes,
        "moves": len(watch.moves),
        "pushes_refused": watch.refused,
        "gap_s": max(watch.gaps_s.values()),
        "lost": num_lost(cluster, before),
    }
    assert figures["scaling"]["lost"] == 0
    assert set(codes) == {200}
