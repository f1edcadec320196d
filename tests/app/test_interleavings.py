"""Many users act on a service at once, in random orders: nothing deadlocks, no answer is about
another stream, no acknowledged block is lost, and no forgotten one comes back.

Each user draws the next act from a seed. How the requests interleave is up to the machine, so a
seed may find a fault only now and then. Ranked locks (`memory/locks.py`) raise an error where two
threads could wait for each other, even if they do not.
"""

import random
import threading
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field

import httpx
import pytest
from one_thing import thing_jpeg
from processes import Process, until
from service import running_service

from memory import locks

THINGS = {"owls": "owl", "cups": "cup", "dogs": "dog"}
PICTURES = {
    stream: [thing_jpeg(thing, part / 8) for part in range(8)] for stream, thing in THINGS.items()
}
ASKED = "what do you see now?"
EXPECTED = {200, 201, 404, 409, 422, 429, 503}
"""What a user may be answered while others delete, pause and close what is asked about."""
BEGAN_AT = 1_700_000_000
MOST_S = 120.0
"""A request that takes longer is stuck."""


@dataclass
class Course:
    """What users did to a service, and what must last of it."""

    url: str
    seed: int
    most: int
    done: Counter = field(default_factory=Counter)
    wrong: list = field(default_factory=list)
    shown: Counter = field(default_factory=Counter)
    """By stream, the pictures that were acknowledged."""
    kept_to_s: Counter = field(default_factory=Counter)
    """By stream, the end of the newest block that was told to be in the memory."""
    forgotten: dict = field(default_factory=lambda: {name: [] for name in THINGS})
    is_over: threading.Event = field(default_factory=threading.Event)

    def run(self):
        users = [
            threading.Thread(target=self.use, args=(number, name, acts))
            for number, (name, acts) in enumerate(
                [(name, PUSHING) for name in THINGS]
                + [(name, ASKING) for name in THINGS]
                + [(name, CHANGING) for name in THINGS]
            )
        ]
        for user in users:
            user.start()
        return users

    def use(self, number, stream, acts):
        drawn = random.Random(1000 * self.seed + number)
        with httpx.Client(base_url=self.url, timeout=MOST_S) as http:
            for _ in range(self.most):
                if self.is_over.is_set():
                    return
                act = drawn.choices(list(acts), list(acts.values()))[0]
                try:
                    act(self, http, stream, drawn)
                    self.done[act.__name__] += 1
                except httpx.TransportError as error:
                    if self.is_over.is_set():
                        return
                    self.wrong.append(f"{act.__name__} {stream}: {error!r}")

    def told(self, response, what):
        if response.status_code not in EXPECTED:
            self.wrong.append(f"{what}: {response.status_code} {response.text[:300]}")
        return response.json() if response.is_success else {}


def push(course, http, stream, drawn):
    number = course.shown[stream]
    response = http.post(
        f"/v1/streams/{stream}/frames",
        content=PICTURES[stream][number % 8],
        headers={"X-Capture-Time": str(BEGAN_AT + number)},
    )
    if course.told(response, f"push {stream}").get("accepted"):
        course.shown[stream] += 1


def look(course, http, stream, drawn):
    told = course.told(http.get(f"/v1/streams/{stream}"), f"look {stream}")
    if told and told["memory"]["blocks"]:
        course.kept_to_s[stream] = max(course.kept_to_s[stream], told["memory"]["to_s"])


def ask(course, http, stream, drawn):
    parts = [
        {"type": "video_url", "video_url": {"url": f"stream://{stream}"}},
        {"type": "text", "text": ASKED},
    ]
    body = {"messages": [{"role": "user", "content": parts}]}
    told = course.told(http.post("/v1/chat/completions", json=body), f"ask {stream}")
    if told:
        said = told["choices"][0]["message"]["content"]
        others = [thing for other, thing in THINGS.items() if other != stream]
        if any(thing in said for thing in others):
            course.wrong.append(f"asked about {stream}: {said}")
        course.done["answers"] += 1


def leave(course, http, stream, drawn):
    """Ask, and go away in the middle of the answer."""
    parts = [
        {"type": "video_url", "video_url": {"url": f"stream://{stream}"}},
        {"type": "text", "text": "what happened?"},
    ]
    body = {"messages": [{"role": "user", "content": parts}], "stream": True, "max_tokens": 200}
    with http.stream("POST", "/v1/chat/completions", json=body) as response:
        if response.status_code not in EXPECTED:
            course.wrong.append(f"leave {stream}: {response.status_code}")
        with suppress(StopIteration):
            next(response.iter_raw())


def search(course, http, stream, drawn):
    body = {"query": THINGS[stream], "stream_ids": [stream]}
    for one in course.told(http.post("/v1/search", json=body), f"search {stream}").get("data", ()):
        if one["stream_id"] != stream:
            course.wrong.append(f"searched {stream}: {one}")


def find(course, http, stream, drawn):
    body = {"statement": f"a {THINGS[stream]} is there now", "stream_ids": [stream]}
    body |= {"effort": "quick", "judgements": 4}
    course.told(http.post("/v1/moments", json=body), f"find {stream}")


def watch(course, http, stream, drawn):
    body = {"stream_ids": [stream], "prompt": f"tell me when you see a {THINGS[stream]}"}
    made = course.told(http.post("/v1/alerts", json=body), f"watch {stream}")
    if made and drawn.random() < 0.7:
        course.told(http.delete(f"/v1/alerts/{made['id']}"), f"unwatch {stream}")


def forget(course, http, stream, drawn):
    """Of what is certainly there; the newest block stays, so that it can be missed."""
    before_s = course.kept_to_s[stream] - 1.5
    if before_s > 0:
        from_s = drawn.uniform(0, before_s)
        span = {"from_s": from_s, "to_s": min(before_s, from_s + drawn.uniform(0, 3))}
        response = http.delete(f"/v1/streams/{stream}/memory", params=span)
        if told := course.told(response, f"forget {stream}"):
            course.forgotten[stream].append((told["from_s"], told["to_s"]))


def pause(course, http, stream, drawn):
    for verb in ("pause", "resume"):
        course.told(http.post(f"/v1/streams/{stream}/{verb}"), f"{verb} {stream}")


def restart(course, http, stream, drawn):
    course.told(http.post(f"/v1/streams/{stream}/restart"), f"restart {stream}")


def close(course, http, stream, drawn):
    """Remove a stream, whose memory stays, and add it again."""
    course.told(http.delete(f"/v1/streams/{stream}"), f"close {stream}")
    add(course, http, stream, drawn)


def add(course, http, stream, drawn):
    body = {"id": stream, "source": {"type": "push"}, "sampling": {"fps": 1, "dedup": 0}}
    course.told(http.post("/v1/streams", json=body), f"add {stream}")


PUSHING = {push: 8, look: 1}
ASKING = {ask: 3, leave: 2, search: 2, find: 1, watch: 2}
CHANGING = {look: 4, forget: 2, pause: 2, restart: 2, close: 1, watch: 1}


@pytest.fixture
def store(tmp_path):
    return f"file://{tmp_path / 'store'}"


def begun(url, seed, most):
    course = Course(url, seed, most)
    with httpx.Client(base_url=url, timeout=MOST_S) as http:
        for stream in THINGS:
            add(course, http, stream, None)
            for _ in range(2):
                push(course, http, stream, None)
            until(lambda: http.get(f"/v1/streams/{stream}").json()["memory"]["blocks"])  # noqa: B023
    return course


def blocks_of(running):
    """By stream, when each block is."""
    found = {}
    for stream in THINGS:
        keeper = running.service.loaded.streams.find(stream)
        memory = keeper.session.memory
        with keeper.session.model.turn:
            found[stream] = memory.times(memory.visible(None))[:2].T.tolist()
    return found


def assert_what_lasts(course, blocks):
    for stream, spans in course.forgotten.items():
        times = blocks[stream]
        assert times[-1][1] >= course.kept_to_s[stream], stream
        for from_s, to_s in spans:
            assert not [one for one in times if from_s <= one[1] and one[0] <= to_s], stream


@pytest.mark.timeout(3600)
def test_many_users_at_once_meet_no_deadlock_no_other_stream_and_no_loss(store, request):
    for seed in range(max(1, request.config.getoption("kills") // 5)):
        with running_service(store=f"{store}{seed}", max_alerts=20) as running:
            course = begun(running.url, seed, 25)
            for user in course.run():
                user.join(10 * MOST_S)
                assert not user.is_alive(), "a user is stuck"
            assert not course.wrong
            assert not locks.violations
            with httpx.Client(base_url=running.url, timeout=MOST_S) as http:
                for stream in THINGS:
                    add(course, http, stream, None)
                    look(course, http, stream, None)
            before = blocks_of(running)
        assert set(course.done) >= {one.__name__ for acts in (PUSHING, ASKING) for one in acts}
        assert course.done["answers"] > 3
        assert_what_lasts(course, before)
        with running_service(store=f"{store}{seed}") as running:
            assert blocks_of(running) == before


@pytest.mark.timeout(3600)
def test_a_kill_among_many_users_loses_nothing_and_brings_nothing_back(store, request):
    drawn = random.Random(7)
    for seed in range(max(1, request.config.getoption("kills") // 5)):
        process = Process("serve", "--port", 0, "--store", f"{store}{seed}", "--threads", 1)
        url = process.found(r"listening on (\S+)")
        until(lambda: httpx.get(f"{url}/ready").status_code == 200)  # noqa: B023
        course = begun(url, seed, 10_000)
        users = course.run()
        most = drawn.randint(10, 60)
        until(lambda: course.done.total() > most + course.done["push"] or course.wrong)  # noqa: B023
        course.is_over.set()
        process.kill()
        for user in users:
            user.join(10 * MOST_S)
        assert not course.wrong
        with running_service(store=f"{store}{seed}") as running:
            with httpx.Client(base_url=running.url, timeout=MOST_S) as http:
                for stream in THINGS:
                    add(course, http, stream, None)
            assert_what_lasts(course, blocks_of(running))
