"""JSON schemas that take seconds to try do not stop other people's answers, however many come."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from attack import ask, chat, costly, flood, harmless, is_busy, response, sent
from held_trials import held_trials
from processes import until


@pytest.fixture
def held(tmp_path, monkeypatch):
    with held_trials(tmp_path, monkeypatch) as trials:
        yield trials


def test_one_key_has_few_schemas_waiting_and_others_have_theirs_tried(as_caller, held):
    replies = []
    await_all = flood(as_caller("ask_a"), [chat("a", costly()) for _ in range(20)], replies)
    until(lambda: len(replies) >= 12)  # while none can be tried
    assert all(is_busy(reply) for reply in replies)
    assert ask(as_caller("master"), chat("b")).status_code == 200
    with ThreadPoolExecutor() as pool:
        shaped = pool.submit(ask, as_caller("master"), chat("b", harmless()))
        held.let_go()
        assert shaped.result().status_code == 200
    await_all()
    tried = [reply for reply in replies if not is_busy(reply)]
    assert tried
    assert {reply.status_code for reply in tried} == {400}
    assert all("too much time" in reply.json()["error"]["message"] for reply in tried)


def test_answers_come_while_one_key_has_costly_schemas_tried_all_the_time(as_caller):
    is_over = threading.Event()
    attackers = [as_caller("ask_a") for _ in range(20)]

    def attack(client):
        while not is_over.is_set():
            if is_busy(ask(client, chat("a", costly()))):
                is_over.wait(0.5)  # of the 20 one or another comes back every 30 ms

    threads = [threading.Thread(target=attack, args=(client,)) for client in attackers]
    for thread in threads:
        thread.start()
    try:
        shaped = chat("b", harmless())
        for asked in (chat("b"), shaped, shaped, response("b"), response("b", harmless())):
            assert ask(as_caller("master"), asked).status_code == 200
    finally:
        is_over.set()
        for thread in threads:
            thread.join()


def test_a_schema_that_was_refused_is_tried_once_for_all_who_ask(as_caller, held):
    schema, replies = costly(), []
    await_all = flood(as_caller("ask_a"), [chat("a", schema)] * 6, replies)
    until(lambda: held.begun)
    held.let_go()
    await_all()
    replies.append(ask(as_caller("master"), response("b", schema)))
    assert [reply.status_code for reply in replies] == [400] * 7
    assert len(held.begun) == 1


@pytest.mark.parametrize("make", [chat, response])
@pytest.mark.parametrize("stream", [False, True])
def test_a_schema_whose_client_has_gone_is_tried_no_longer(locked, keys, held, make, stream):
    answering = locked.service.answering
    with sent(locked, keys["ask_a"], make("a", costly(), stream=stream)):
        until(lambda: held.num_running == 1)
        with sent(locked, keys["ask_a"], make("a", costly(), stream=stream)):
            until(lambda: answering.num == 2)
        until(lambda: answering.num == 1)
    until(lambda: held.num_running == answering.num == 0)
    assert len(held.begun) == 1  # the one that waited has never begun


def test_a_cancelled_response_has_its_schema_tried_no_longer(as_caller, held):
    client = as_caller("ask_a")
    made = [ask(client, response("a", costly(), background=True)).json() for _ in range(2)]
    until(lambda: held.num_running == 1)
    for one in reversed(made):
        told = client.post(f"/v1/responses/{one['id']}/cancel").json()
        assert (told["status"], told["error"]) == ("cancelled", None)
    until(lambda: held.num_running == 0)
    assert len(held.begun) == 1


def test_responses_in_the_background_have_few_schemas_waiting(as_caller, held):
    client = as_caller("ask_a")
    made = [ask(client, response("a", costly(), background=True)).json() for _ in range(20)]
    ended = {}

    def num_ended():
        for one in made:
            if one["id"] not in ended:
                told = client.get(f"/v1/responses/{one['id']}").json()
                if told["status"] == "failed":
                    ended[one["id"]] = told["error"]["code"]
        return len(ended)

    until(lambda: num_ended() >= 12)  # while none is tried
    assert set(ended.values()) == {"busy"}
    assert ask(as_caller("master"), response("b")).status_code == 200
    held.let_go()
    until(lambda: num_ended() == len(made))
