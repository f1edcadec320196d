"""Nobody keeps all others from listening or from being answered: each key has its share."""

import pytest
from attack import Opener, ask, chat, is_busy, response, sent
from one_thing import thing_jpeg
from processes import until
from service import endless, running_service

MASTER = "correct-horse-battery"
ENDLESS = ("/v1/chat/completions", endless("a", stream=True))
ENDLESS_RESPONSE = response(
    "a", endless("a")["response_format"]["json_schema"]["schema"], max_output_tokens=4096
)


@pytest.fixture
def small(scoped):
    """With few places of each kind, and a stream that has seen something."""
    bounds = {"max_listeners": 8, "max_running": 8, "max_waiting": 8}
    with running_service(key=MASTER, scoped=scoped, **bounds) as service:
        service.post("/v1/streams", {"id": "a", "source": {"type": "push"}})
        service.http.post("/v1/streams/a/frames", content=thing_jpeg("owl"))
        service.await_stream("a", lambda told: told["memory"]["blocks"])
        yield service


def test_a_key_has_a_quarter_of_the_listeners_and_one_place_is_left_for_others(small, keys):
    with Opener(small, keys["read_a"]) as one, Opener(small, keys["ask_a"]) as other:
        assert [one.listen() for _ in range(4)] == [True, True, False, False]
        with Opener(small, MASTER) as master:
            assert [master.listen() for _ in range(7)] == [True] * 5 + [False] * 2
            assert [other.listen() for _ in range(2)] == [True, False]
        until(lambda: small.service.events.num_readers == 3)
        assert other.listen()  # what was left is free again


@pytest.mark.parametrize("key", [None, MASTER])
def test_who_is_alone_listens_as_often_as_there_are_places(key):
    with running_service(key=key, max_listeners=4) as service, Opener(service, key) as alone:
        assert [alone.listen() for _ in range(5)] == [True] * 4 + [False]


def test_a_key_has_a_quarter_of_what_is_answered_and_of_what_waits(small, keys):
    scheduler = small.service.loaded.model.scheduler
    with Opener(small, keys["ask_a"]) as running:
        assert [running.ask(ENDLESS) for _ in range(2)] == [True, True]
        with sent(small, keys["ask_a"], ENDLESS), sent(small, keys["ask_a"], ENDLESS):
            until(lambda: scheduler.num_waiting == 2)
            assert is_busy(ask(running.http, chat("a")))
            assert ask(small.http, chat("a")).status_code == 200
            assert (scheduler.num_running, scheduler.num_waiting) == (2, 2)
        until(lambda: scheduler.num_waiting == 0)  # nobody reads for who has gone
        assert scheduler.num_running == 2


def test_one_place_is_left_where_answers_of_the_master_key_run(small, keys):
    scheduler = small.service.loaded.model.scheduler
    with Opener(small, MASTER) as master:
        assert [master.ask(ENDLESS) for _ in range(7)] == [True] * 7
        with sent(small, MASTER, ENDLESS):
            until(lambda: scheduler.num_waiting == 1)
            with Opener(small, keys["ask_a"]) as other:
                assert ask(other.http, chat("a")).status_code == 200
            assert scheduler.num_waiting == 1


def test_who_follows_responses_holds_places_too(small, keys):
    path, body = ENDLESS_RESPONSE
    with Opener(small, keys["ask_a"]) as one:
        made = one.http.post(path, json={**body, "background": True}).json()
        following = f"{path}/{made['id']}"
        gone_on = [one.open("GET", following, params={"stream": True}) for _ in range(12)]
        assert not all(gone_on)
        assert gone_on[0]
        assert ask(small.http, response("a")).status_code == 200
        assert one.http.post(f"{following}/cancel").json()["status"] == "cancelled"


def test_responses_in_the_background_are_as_many_as_a_key_may_have(small, keys):
    scheduler = small.service.loaded.model.scheduler
    path, body = ENDLESS_RESPONSE
    with Opener(small, keys["ask_a"]) as one:

        def ask_on():
            made = one.http.post(path, json={**body, "background": True}).json()
            return f"{path}/{made['id']}"

        going_on = []
        for running, waiting in ((1, 0), (2, 0), (2, 1), (2, 2)):
            going_on.append(ask_on())
            until(lambda: (scheduler.num_running, scheduler.num_waiting) == (running, waiting))  # noqa: B023
        refused = ask_on()
        until(lambda: one.http.get(refused).json()["status"] == "failed")
        assert one.http.get(refused).json()["error"]["code"] == "busy"
        assert ask(small.http, response("a")).status_code == 200
        for where in going_on:
            told = one.http.post(f"{where}/cancel").json()
            assert (told["status"], told["error"]) == ("cancelled", None)
    until(lambda: small.service.answering.num == 0)
