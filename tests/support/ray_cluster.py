"""`vstream serve --cluster` on a Ray of its own, in a process; and its processes, to be killed."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import psutil
from one_thing import thing_jpeg
from rtsp_camera import free_port
from service import RunningService, endless

PORT = free_port()
ENVIRONMENT = {
    "RAY_AUTH_MODE": "disabled",
    "RAY_worker_niceness": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "HF_HUB_OFFLINE": "1",
}
SERVE = ("-m", "app", "serve", "--cluster")


class RayCluster(RunningService):
    """`process` is the command's, `redis` a client of its store."""

    def __init__(self, process, redis, url=f"http://127.0.0.1:{PORT}"):
        super().__init__([None], url)
        self.process = process
        self.redis = redis

    def pids(self, name):
        """Of the actors that are called so, as `Ingress`, by when they were started."""
        there = psutil.Process(self.process.pid).children(recursive=True)
        found = [one for one in there if re.match(rf"ray::\S*{name}", _title(one))]
        return [one.pid for one in sorted(found, key=lambda one: one.create_time())]

    @property
    def address(self):
        """Of its Ray, for one who joins it."""
        there = psutil.Process(self.process.pid).children(recursive=True)
        found = (re.search(r"--gcs-address=(\S+)", _title(one)) for one in there)
        return next(one[1] for one in found if one)

    def writers(self, stream_ids):
        """By stream, the pid of the process that writes it now, as its lease has it, or None."""
        held = self.redis.mget([f"vstream:{{{one}}}:lease" for one in stream_ids])
        pids = [told and int(told.decode().split()[1].rpartition(":")[2]) for told in held]
        return dict(zip(stream_ids, pids, strict=True))

    def blocks(self, stream_id):
        """What is acknowledged: what the table says of each block, by id."""
        return self.redis.hgetall(f"vstream:{{{stream_id}}}:table").items()

    def num_workers(self):
        """Those that answer."""
        return len(set(re.findall(r'worker="(\w+)"', self.http.get("/metrics").text)))

    def add_streams(self, stream_ids):
        """Each with three pictures of one of two things."""
        for number, stream_id in enumerate(stream_ids):
            made = {"id": stream_id, "source": {"type": "push"}}
            wait_for(lambda: self.http.post("/v1/streams", json=made).status_code in (201, 409))  # noqa: B023
            for second in range(3):
                self.push(stream_id, ("owl", "burger")[number % 2], 1000.0 + second, second / 4)

    def push(self, stream_id, thing, at, part):
        path = f"/v1/streams/{stream_id}/frames"
        headers = {"X-Capture-Time": f"{at:.3f}", "Content-Type": "image/jpeg"}
        told = self.http.post(path, content=thing_jpeg(thing, part), headers=headers)
        assert told.json().get("accepted"), told.text

    def answered(self, stream_id, on_word=lambda number: None, path="/v1/chat/completions"):
        """The text of a streamed answer about a moment, the ids that it went by, its longest
        pause in seconds.
        """
        document = endless(f"{stream_id}?as_of_s=1.5", temperature=0, max_tokens=60, stream=True)
        if path == "/v1/responses":
            document["input"] = document.pop("messages")
            document["max_output_tokens"] = document.pop("max_tokens")
            document["text"] = {"format": _flat(document.pop("response_format"))}
        text, ids, longest_s, number = "", set(), 0.0, 0
        heard_at = time.monotonic()
        with self.http.stream("POST", path, json=document) as answer:
            assert answer.status_code == 200, answer.read()
            for line in answer.iter_lines():
                if not line.startswith("data: {"):
                    continue
                told = json.loads(line.removeprefix("data: "))
                assert not told.get("error"), told
                longest_s = max(longest_s, time.monotonic() - heard_at)
                heard_at = time.monotonic()
                if "choices" in told:
                    ids.add((told["id"], told["created"]))
                    word = told["choices"] and told["choices"][0]["delta"].get("content")
                else:
                    if "response" in told:
                        ids.add((told["response"]["id"], told["response"]["created_at"]))
                    word = told.get("delta")
                if word:
                    text += word
                    number += 1
                    on_word(number)
        return text, ids, longest_s


def _flat(response_format):
    return {"type": "json_schema", **response_format["json_schema"]}


def _title(process):
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def num_listening():
    """Ingresses that take connections."""
    lines = Path("/proc/self/net/tcp").read_text().splitlines()
    return sum(f":{PORT:04X} " in line and " 0A " in line for line in lines)


def wait_for(is_so, seconds=120):
    """Return after how many seconds it was so."""
    began = time.monotonic()
    while not is_so():
        assert time.monotonic() < began + seconds
        time.sleep(0.1)
    return time.monotonic() - began


@contextmanager
def ray_cluster(redis, folder, *options, command=SERVE):
    """A RayCluster over the RedisServer, whose log is in `folder`; `command` is Python's."""
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, *command, "--store", redis.url, "--port", str(PORT), *options],
            env={**os.environ, **ENVIRONMENT},
            stderr=log,
            stdout=log,
        )
        running = RayCluster(process, redis.client())
        try:
            told = folder / "log"
            wait_for(lambda: process.poll() or "listening on" in told.read_text(), 400)
            assert process.poll() is None, told.read_text()
            yield running
        finally:
            running.http.close()
            running.redis.close()
            children = psutil.Process(process.pid).children(recursive=True)
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(timeout=240)
            finally:  # one that is in another session does not end with its parent
                process.kill()
                for child in children:
                    try:
                        child.kill()
                    except psutil.NoSuchProcess:
                        continue
    assert process.returncode == 0
