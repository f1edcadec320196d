"""What was asked and answered is written down where that is wanted, and goes with the stream."""

import json
import threading
import time

import httpx
import pytest
from one_thing import thing_jpeg
from service import embedded, running_service

from app.server.keys import ScopedKey, new_key
from memory import StoreError
from vstream.service import answer_log

MASTER = "correct-horse-battery"
KEYS = {name: new_key() for name in ("manage", "ask")}
KINDS = {"door": "owl", "yard": "burger"}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "log" / "answers.jsonl"


def started(path, **more):
    scoped = [
        ScopedKey(name=may, hash=hashed, streams=("yard",), can={may})
        for may, (_, hashed) in KEYS.items()
    ]
    return running_service(model=embedded(), key=MASTER, scoped=scoped, answer_log=path, **more)


def show(service):
    for name, thing in KINDS.items():
        spec = {"source": {"type": "push"}, "sampling": {"dedup": 0}}
        service.post("/v1/streams", {"id": name, **spec})
        service.http.post(f"/v1/streams/{name}/frames", content=thing_jpeg(thing))
        service.await_stream(name, lambda told: told["memory"]["blocks"] == 1)


def listed(service, key=MASTER, **wanted):
    headers = {"Authorization": f"Bearer {key}"}
    told = httpx.get(f"{service.url}/v1/answers", params=wanted, headers=headers)
    assert told.status_code == 200, told.text
    return told.json()


def questions(told):
    return [(one["stream_id"], one["question"]) for one in told["data"]]


def test_answers_are_written_down_and_shown_to_who_may_manage_the_stream(path):
    with started(path) as service:
        show(service)
        given = service.ask("what is there?", "stream://door")
        service.ask("and there?", "stream://yard", "stream://door")
        url = {"type": "video_url", "video_url": {"url": "stream://yard"}}
        parts = [url, {"type": "input_text", "text": "once more?"}]
        service.post("/v1/responses", {"input": [{"role": "user", "content": parts}]})
        everything = listed(service)
        assert questions(everything) == [
            ("yard", "once more?"),
            ("door", "and there?"),
            ("yard", "and there?"),
            ("door", "what is there?"),
        ]
        first = everything["data"][-1]
        assert given["choices"][0]["message"]["content"].startswith(first["answer"])
        assert first["evidence"] == [[0.0, 0.0]]
        assert (first["model"], first["unsure"]) == ("embedded", given["vstream"][0]["unsure"])
        page = listed(service, limit=2, before=everything["data"][0]["id"])
        assert (page["data"], page["has_more"]) == (everything["data"][1:3], True)
        assert {of for of, _ in questions(listed(service, stream_id="yard"))} == {"yard"}
        assert {of for of, _ in questions(listed(service, KEYS["manage"][0]))} == {"yard"}
        assert listed(service, KEYS["ask"][0])["data"] == []


def test_the_log_is_a_file_of_the_services_user(path, tmp_path):
    with started(path) as service:
        show(service)
        for name in KINDS:
            service.ask("what is there?", f"stream://{name}")
        everything = listed(service)
        assert path.stat().st_mode & 0o077 == 0
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        assert lines == list(reversed(everything["data"]))
        service.delete("/v1/streams/door/memory", params={"from_s": 0, "to_s": 1})
        assert "door" not in path.read_text()
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="cannot be written"), started(tmp_path / "file" / "log"):
        pytest.fail("it cannot be written there")


def test_what_is_forgotten_is_written_nowhere(path, tmp_path):
    with started(path, store=f"file://{tmp_path}/store") as service:
        show(service)
        for name in KINDS:
            service.ask("what is there?", f"stream://{name}")
        service.delete("/v1/streams/door/memory", params={"from_s": 1, "to_s": 2})
        assert len(listed(service)["data"]) == 2
        service.delete("/v1/streams/door/memory", params={"from_s": 0, "to_s": 1})
        assert questions(listed(service)) == [("yard", "what is there?")]
    with started(path, store=f"file://{tmp_path}/store") as again:
        assert questions(listed(again)) == [("yard", "what is there?")]
        again.delete("/v1/streams/yard", params={"purge": True})
        assert listed(again)["data"] == []


def test_an_answer_that_is_given_meanwhile_is_forgotten_as_well(path, monkeypatch):
    """Even if the clock is set back between question and forgetting."""
    begun, may_go = threading.Event(), threading.Event()
    add = answer_log.AnswerLog.add

    def held(self, *told):
        begun.set()
        may_go.wait(30)
        add(self, *told)

    monkeypatch.setattr(answer_log.AnswerLog, "add", held)
    with started(path) as service:
        show(service)
        asking = threading.Thread(target=service.ask, args=("what is there?", "stream://door"))
        asking.start()
        assert begun.wait(30)
        yesterday = time.time() - 86_400
        monkeypatch.setattr(time, "time", lambda: yesterday)
        service.delete("/v1/streams/door/memory", params={"from_s": 0, "to_s": 1})
        may_go.set()
        asking.join()
        assert listed(service)["data"] == []


def test_the_newest_answers_are_kept(path, monkeypatch):
    monkeypatch.setattr(answer_log, "MOST", 3)
    with started(path) as service:
        show(service)
        for number in range(5):
            service.ask(f"what is there, {number}?", "stream://door")
        assert [text for _, text in questions(listed(service))] == [
            f"what is there, {number}?" for number in (4, 3, 2)
        ]


def test_none_are_written_down_unasked():
    with started(None) as service:
        show(service)
        service.ask("what is there?", "stream://door")
        told = listed(service)
        assert (told["data"], told["is_logged"]) == ([], False)
