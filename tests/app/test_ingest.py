"""`vstream ingest` and `ask` as different processes on one store."""

import json
import os
import re
import time

import pytest
from command_line import vstream
from processes import Process, until
from redis_servers import RedisServer, valkey_binary
from synthetic_video import write_video

from app.terminal import Terminal
from encoders import Turn
from memory import tier_of
from memory.tiers.redis.redis_dialogue import TURNS
from vstream.stream_reader import StreamReader

ask = StreamReader.ask
ASKED = "what do you see now?"

AN_HOUR_AGO = time.time() - 3600


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    path = write_video(tmp_path_factory.mktemp("video") / "clip.mp4", num_frames=80, fps=10)
    os.utime(path, (AN_HOUR_AGO, AN_HOUR_AGO))  # of a new one no moment may lie in the time to come
    return path


@pytest.fixture(params=["file", "redis"])
def store(request, tmp_path):
    if request.param == "file":
        return f"file://{tmp_path}/store"
    return request.getfixturevalue("redis_server").url


def listed(store):
    return json.loads(vstream("streams", "--store", store, "--json").out.splitlines()[-1])


def test_what_was_ingested_is_asked_about_by_its_id(video, store):
    run = vstream("ingest", video, "--store", store, "--id", "lobby")
    assert run.code == 0, run.err
    lines = run.out.splitlines()
    told = [re.fullmatch(r"acknowledged blocks=(\d+) to_s=(\d+\.\d{3})", line) for line in lines]
    assert len(told) <= 2, "at first, and at the end: a line a minute at most"
    assert all(told)
    assert (told[-1][1], told[-1][2]) == ("8", "7.000")
    (stream,) = listed(store)
    assert (stream["id"], stream["state"], stream["blocks"]) == ("lobby", "stored", 8)
    there = vstream("ask", "lobby", ASKED, "--store", store, "--json")
    assert there.code == 0, there.err
    assert "frames" not in there.document
    in_one = vstream("ask", video, ASKED, "--json").document
    for name in ("answer", "evidence", "newest_frame_s"):
        assert there.document[name] == in_one[name]


def test_a_question_about_the_past_sees_no_later_block(video, store):
    assert vstream("ingest", video, "--store", store, "--id", "lobby").code == 0
    run = vstream("ask", "lobby", ASKED, "--at", "3", "--store", store, "--json")
    assert run.document["newest_frame_s"] == 3.0
    in_one = vstream("ask", video, ASKED, "--at", "3", "--json").document
    assert run.document["evidence"] == in_one["evidence"]


def test_ingesting_again_goes_on_after_the_last_block(video, store):
    first = vstream("ingest", video, "--store", store)
    assert first.out.splitlines()[-1].startswith("acknowledged blocks=8 ")
    again = vstream("ingest", video, "--store", store)
    assert again.code == 0
    assert again.out == ""
    assert len(listed(store)) == 1


def test_a_stream_being_ingested_is_asked_about_by_id_and_by_source(video, store):
    ingesting = Process("ingest", video, "--real-time", "--id", "lobby", "--store", store)
    until(lambda: ingesting.acknowledged >= 1)
    assert [stream["state"] for stream in listed(store)] == ["live"]
    run = vstream("ask", "lobby", ASKED, "--store", store, "--json")
    assert run.code == 0, run.err
    assert run.document["evidence"]
    assert ingesting.terminate() == 0
    assert ingesting.err[-1] == "stopped\n"
    (stream,) = listed(store)
    assert stream["state"] == "stored"
    assert stream["blocks"] == ingesting.acknowledged


def test_two_processes_contend_for_a_stream_and_one_writes(video, store):
    first = Process("ingest", video, "--real-time", "--id", "lobby", "--store", store)
    until(lambda: first.acknowledged >= 1)
    second = vstream("ingest", video, "--id", "lobby", "--store", store)
    assert second.code == 1
    assert re.search("is being written", second.err)
    assert second.out == ""
    assert first.is_running
    assert first.terminate() == 0


def test_a_writer_that_was_replaced_stops_and_says_so(video, redis_server):
    ingesting = Process(
        "ingest", video, "--real-time", "--id", "lobby", "--store", redis_server.url
    )
    until(lambda: ingesting.acknowledged >= 1)
    with redis_server.client() as client:
        client.hset("vstream:{lobby}:meta", "fence", "99")
        client.set("vstream:{lobby}:lease", "99 elsewhere:1")
    assert ingesting.wait() == 1
    assert "another process writes this stream now (elsewhere:1)" in ingesting.err[-1]


def test_a_dialogue_goes_on_until_something_of_the_stream_is_forgotten(video, redis_server):
    store = ("--store", redis_server.url)
    assert vstream("ingest", video, *store, "--id", "lobby").code == 0
    asked = [ASKED, *(f"and what is at 0:0{n}?" for n in range(TURNS))]
    told = [vstream("ask", "lobby", one, *store, "--dialogue", "kim") for one in asked]
    assert [run.code for run in told] == [0] * len(asked)
    with tier_of(redis_server.url).dialogue("lobby", "kim") as said:
        turns = [(one, run.out.strip()) for one, run in zip(asked, told, strict=True)]
        assert said.turns() == turns[-TURNS:]
        span = ("--from", "0:05", "--to", "0:06", "--yes")
        assert vstream("forget", "lobby", *span, *store).code == 0
        assert said.turns() == []


@pytest.mark.parametrize("goes_on", [False, True])
def test_an_answer_begun_before_something_was_forgotten_is_no_part_of_a_dialogue(
    video, redis_server, monkeypatch, goes_on
):
    """It saw what another user forgets meanwhile, also if the dialogue has begun anew by then."""
    store = ("--store", redis_server.url)
    assert vstream("ingest", video, *store, "--id", "lobby").code == 0

    def forgotten_meanwhile(terminal, stream, *given, **more):
        answer = tell_answer(terminal, stream, *given, **more)
        if not asked_on:
            asked_on.append("and now?")
            span = ("--from", "0:05", "--to", "0:06", "--yes")
            assert vstream("forget", "lobby", *span, *store).code == 0
            if goes_on:
                run = vstream("ask", "lobby", *asked_on, *store, "--dialogue", "kim")
                assert run.code == 0
        return answer

    asked_on, tell_answer = [], Terminal.tell_answer
    monkeypatch.setattr(Terminal, "tell_answer", forgotten_meanwhile)
    assert vstream("ask", "lobby", ASKED, *store, "--dialogue", "kim").code == 0
    with tier_of(redis_server.url).dialogue("lobby", "kim") as said:
        assert [question for question, _ in said.turns()] == asked_on * goes_on


def test_what_was_said_is_asked_about(video, redis_server, monkeypatch):
    """With the turns of the dialogue, and no others."""
    read = []
    monkeypatch.setattr(
        StreamReader, "ask", lambda self, asked: read.append(asked) or ask(self, asked)
    )
    store = ("--store", redis_server.url)
    assert vstream("ingest", video, *store, "--id", "lobby").code == 0
    first = vstream("ask", "lobby", ASKED, *store, "--dialogue", "kim").out.strip()
    for name in ("kim", "lee"):
        assert vstream("ask", "lobby", "and then?", *store, "--dialogue", name).code == 0
    assert [one.dialogue for one in read] == [(), (Turn(ASKED, first),), ()]


def test_a_dialogue_needs_redis(video, tmp_path):
    store = ("--store", f"file://{tmp_path}/store")
    assert vstream("ingest", video, *store, "--id", "lobby").code == 0
    run = vstream("ask", "lobby", ASKED, *store, "--dialogue", "kim")
    assert (run.code, run.out) == (1, "")
    assert run.err.strip() == "error: --dialogue needs a Redis store, where it is kept"


AWAY = "redis://me:secret@127.0.0.1:1"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("ingest", "clip.mp4", "--store", "memory://"), "ends with this process"),
        (("ingest", "clip.mp4", "--store", AWAY), "cannot be reached"),
        (
            ("ask", "lobby", "what?", "--store", AWAY),
            "cannot be reached",
        ),
        (("streams", "--store", AWAY), "cannot be reached"),
        (("ask", "lobby", "what?", "--store", "file:///tmp/none"), "there is no such folder"),
        (("ask", "clip.mp4", "what?", "--dialogue", "kim"), "--dialogue needs a stored stream"),
        (("ingest", "clip.mp4", "--id", "../x", "--store", "file:///tmp/none"), "stream id"),
        (("ingest", "gone.mp4", "--store", "file:///tmp/none"), "gone.mp4"),
    ],
)
def test_what_cannot_be_is_told_in_one_line_without_the_password(
    arguments, told, video, monkeypatch
):
    monkeypatch.chdir(video.parent)
    run = vstream(*arguments)
    assert run.code == 1
    assert told in run.err
    assert "secret" not in run.err
    assert sum(not line.startswith("model ") for line in run.err.strip().splitlines()) == 1


@pytest.fixture
def own_server(tmp_path):
    server = RedisServer(valkey_binary(), tmp_path)
    yield server
    server.kill()


def test_a_server_that_goes_away_is_said_and_waited_for(video, own_server):
    ingesting = Process("ingest", video, "--real-time", "--id", "lobby", "--store", own_server.url)
    until(lambda: ingesting.acknowledged >= 1)
    own_server.kill()
    ingesting.await_line("new blocks wait while we retry")
    own_server.start()
    ingesting.await_line("the store is back")
    assert ingesting.wait() == 0, "".join(ingesting.err)
    assert ingesting.acknowledged == 8


def test_ingesting_is_stopped_while_the_server_is_away_and_says_what_is_lost(video, own_server):
    ingesting = Process("ingest", video, "--real-time", "--id", "lobby", "--store", own_server.url)
    until(lambda: ingesting.acknowledged >= 1)
    own_server.kill()
    ingesting.await_line("new blocks wait while we retry")
    time.sleep(2.5)  # by then a frame has come: that the server is away is known before
    assert ingesting.terminate() == 1
    assert "are lost" in ingesting.err[-1]
