"""The relay over workers that die, hang, lag and leave, which are scripts here."""

import asyncio
import json

import pytest

from app.cluster.membership import Membership
from app.cluster.relay import WINDOW, Relay, Request, WorkerLostError
from app.server.api_errors import ApiError
from app.server.attempt import KEY

WORDS = ["A ", "red ", "van ", "at ", "the ", "gate."]
CHAT = {"method": "POST", "path": "/v1/chat/completions"}


def sse(document):
    return f"data: {json.dumps(document)}\n\n"


def chat_events(name, pieces=WORDS):
    head = {"id": f"chatcmpl-{name}", "object": "chat.completion.chunk", "created": 1000}

    def chunk(delta, **more):
        choice = {"index": 0, "delta": delta, "finish_reason": None}
        return sse({**head, "choices": [choice], **more})

    yield chunk({"role": "assistant", "content": ""})
    for piece in pieces:
        yield chunk({"content": piece})
    yield chunk({"annotations": [{"at_s": 3}]})
    yield chunk({}, vstream=[{"as_of": 3}])
    yield "data: [DONE]\n\n"


def response_events(name, pieces=WORDS):
    answer = {"id": f"resp_{name}", "created_at": 1000}
    told = [
        {"type": "response.created", "response": answer},
        {"type": "response.output_item.added", "item": {"id": f"msg_{name}"}},
        *(
            {"type": "response.output_text.delta", "item_id": f"msg_{name}", "delta": piece}
            for piece in pieces
        ),
        {"type": "response.completed", "response": answer},
    ]
    for number, one in enumerate(told):
        event = {**one, "sequence_number": number}
        yield f"event: {one['type']}\n{sse(event)}"


class ScriptedWorkers:
    """`scripts`: by worker, what it does: events, and between them what befalls it."""

    def __init__(self, **scripts):
        self.members = Membership()
        self.members.update({name: ["door"] if name == "a" else [] for name in scripts})
        self._scripts = scripts
        self.asked = []
        self.acknowledged = 0
        self.sent = 0

    async def acknowledge(self, worker, call_id, num):
        self.acknowledged += num

    async def ask(self, to, call):
        there = [one for one in self.members.ranked(to) if one in self._scripts]
        if not there:
            await asyncio.Event().wait()
        worker = there[0]
        attempt = call["scope"].get(KEY)
        self.asked.append((worker, attempt))
        script = self._scripts[worker]
        if attempt is not None:
            attempt = {"spans": {"door": {"as_of_s": worker}}, **attempt}
        yield {"type": "vstream.accepted", "worker": worker, "attempt": attempt}
        for one in script() if callable(script) else script:
            if one == "dies":
                raise WorkerLostError
            if one == "hangs":
                await asyncio.Event().wait()
            if one == "beats":
                await asyncio.sleep(0.05)
                yield {"type": "vstream.beat"}
                continue
            if one == "not mine":
                yield {"type": "vstream.not_mine", "stream": call["stream"]}
                return
            self.sent += 1
            yield one


def streamed(events):
    kind = [(b"content-type", b"text/event-stream; charset=utf-8")]
    yield {"type": "http.response.start", "status": 200, "headers": kind}
    for event in events:
        if event in ("dies", "hangs", "beats"):
            yield event
        else:
            yield {"type": "http.response.body", "body": event.encode(), "more_body": True}
    yield {"type": "http.response.body", "body": b"", "more_body": False}


def whole(status, document):
    kind = [(b"content-type", b"application/json")]
    yield {"type": "http.response.start", "status": status, "headers": kind}
    yield {"type": "http.response.body", "body": json.dumps(document).encode()}


def cut(events, after, fate):
    """So many of them, and then what befalls the worker."""
    return [*list(events)[:after], fate]


def told(workers, scope=CHAT, body=b"{}", **request):
    """The bodies that a client gets, one behind the other."""
    sent = []

    async def send(message):
        sent.append(message)

    async def run():
        relay = Relay(workers, workers.members, silent_s=0.2, patience_s=1.0)
        await relay.answer(Request(dict(scope), body, "door", **request), send)

    asyncio.run(run())
    assert [message["type"] for message in sent].count("http.response.start") == 1
    assert not sent[-1].get("more_body")
    return b"".join(message.get("body", b"") for message in sent).decode()


KINDS = {
    "chat": (CHAT, chat_events),
    "response": ({"method": "POST", "path": "/v1/responses"}, response_events),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("after", range(9))
@pytest.mark.parametrize("fate", ["dies", "hangs"])
def test_an_answer_is_the_undisturbed_one_wherever_its_worker_is_lost(kind, after, fate):
    scope, events = KINDS[kind]
    undisturbed = told(ScriptedWorkers(a=streamed(events("aa"))), scope)
    other = ["A re", "d van", " at the ", "gat", "e."]  # as pieces are of how it was decoded
    workers = ScriptedWorkers(
        a=streamed(cut(events("aa"), after, fate)), b=streamed(events("aa", other))
    )
    found = told(workers, scope)
    assert words(found) == "".join(WORDS)
    assert without_words(found) == without_words(undisturbed)
    assert [worker for worker, _ in workers.asked] == ["a", "b"]
    first, second = (attempt for _, attempt in workers.asked)
    assert second == {**first, "spans": {"door": {"as_of_s": "a"}}}
    assert first["id"]


def documents(text):
    for event in text.split("\n\n"):
        data = event.rpartition("data: ")[2]
        if data.startswith("{"):
            yield json.loads(data)


def delta_of(document):
    if "choices" in document:
        return document["choices"][0]["delta"].get("content")
    return document.get("delta")


def words(text):
    return "".join(delta_of(one) or "" for one in documents(text))


def without_words(text):
    found = list(documents(text))
    numbers = [one.pop("sequence_number") for one in found if "sequence_number" in one]
    assert numbers == list(range(len(numbers)))
    return [one for one in found if not delta_of(one)]


@pytest.mark.parametrize("after", range(1, 6))
def test_who_comes_back_to_a_response_hears_the_rest_wherever_it_is_told(after):
    """Under the numbers that the events have."""
    rest = list(response_events("aa"))[3:]
    workers = ScriptedWorkers(a=streamed(cut(rest, after, "dies")), b=streamed(rest))
    scope = {"method": "GET", "path": "/v1/responses/resp_aa"}
    found = list(documents(told(workers, scope)))
    assert found == list(documents("".join(rest)))


def test_another_answer_is_never_mixed_with_the_first():
    found = told(
        ScriptedWorkers(
            a=streamed(cut(chat_events("aa"), 3, "dies")),
            b=streamed(chat_events("bb", ["A ", "blue ", "van."])),
        )
    )
    assert "blue" not in found
    assert "worker_lost" in found
    assert found.endswith("data: [DONE]\n\n")


@pytest.mark.parametrize(
    ("after", "wishes", "is_whole"),
    [
        (3, {"temperature": 1.0}, False),
        (1, {"temperature": 1.0}, True),  # of which no word was told
        (3, {"temperature": 1.0, "seed": 7}, True),
        (3, {"temperature": 0}, True),
    ],
)
def test_words_that_were_drawn_are_not_drawn_again(after, wishes, is_whole):
    workers = ScriptedWorkers(
        a=streamed(cut(chat_events("aa"), after, "dies")), b=streamed(chat_events("bb"))
    )
    found = told(workers, body=json.dumps(wishes).encode())
    assert (words(found) == "".join(WORDS)) is is_whole
    assert ("worker_lost" in found) is not is_whole


def test_a_worker_that_beats_is_waited_for():
    workers = ScriptedWorkers(a=streamed(["beats"] * 12 + list(chat_events("aa"))), b=[])
    assert words(told(workers)) == "".join(WORDS)
    assert [worker for worker, _ in workers.asked] == ["a"]


def test_an_answer_that_takes_longer_than_anyone_looks_for_a_worker_goes_on_with_another():
    """Twice: each of the two who die has said something new before."""
    long, [first, *rest] = ["beats"] * 24, list(chat_events("aa"))
    once = iter([[first, rest[0], *long, "dies"], [first, *rest[:2], *long, "dies"]])
    workers = ScriptedWorkers(a=lambda: streamed(next(once)), b=lambda: streamed(next(once)))
    workers._scripts["c"] = streamed(chat_events("aa"))
    workers.members.update({"a": ["door"], "b": [], "c": []})
    workers.members.ranked = lambda to: [one for one in "abc" if one not in to["without"]]
    assert words(told(workers)) == "".join(WORDS)
    assert [worker for worker, _ in workers.asked] == ["a", "b", "c"]


def test_a_question_that_every_worker_dies_of_is_given_up():
    workers = ScriptedWorkers(a=lambda: ["dies"], b=lambda: ["dies"])
    with pytest.raises(ApiError, match="ask again"):
        told(workers)
    assert 2 < len(workers.asked) < 12


def test_a_worker_that_leaves_is_no_answer():
    leaving = {"error": {"message": "draining", "code": "service_draining"}}
    workers = ScriptedWorkers(a=whole(503, leaving), b=whole(200, {"id": 1}))
    assert json.loads(told(workers)) == {"id": 1}


def test_what_changes_something_is_not_done_twice():
    scope = {"method": "POST", "path": "/v1/streams/door/pause"}
    workers = ScriptedWorkers(a=["dies"], b=whole(200, {}))
    with pytest.raises(ApiError, match="ask again"):
        told(workers, scope, is_owners=True)
    assert [worker for worker, _ in workers.asked] == ["a"]


def test_what_is_another_workers_is_asked_again_until_that_one_tells():
    workers = ScriptedWorkers(a=whole(200, {"id": "door"}), b=["not mine"])
    workers.members.update({"a": [], "b": ["door"]})  # as it was heard before it moved

    async def moves():
        await asyncio.sleep(0.3)
        workers.members.update({"a": ["door"], "b": []})

    sent = []

    async def send(message):
        sent.append(message)

    async def run():
        moving = asyncio.create_task(moves())
        relay = Relay(workers, workers.members, silent_s=0.5, patience_s=5)
        scope = {"method": "GET", "path": "/v1/streams/door"}
        await relay.answer(Request(scope, b"", "door", is_owners=True), send)
        await moving

    asyncio.run(run())
    assert sent[0]["status"] == 200
    assert workers.asked[0][0] == "b"
    assert workers.asked[-1][0] == "a"


def test_no_worker_at_all_is_said():
    with pytest.raises(ApiError, match="ask again"):
        told(ScriptedWorkers())


def test_a_client_that_does_not_read_is_waited_for():
    events = [sse({"id": "chatcmpl-aa", "created": 1, "choices": [{"delta": {"content": "x"}}]})]
    workers = ScriptedWorkers(a=streamed(events * 1000))
    found = told(workers)
    assert words(found) == "x" * 1000
    assert workers.acknowledged > 1000 - WINDOW


def test_who_joins_moves_no_stream():
    members, ids = Membership(), [f"cam{number}" for number in range(300)]
    members.update(dict.fromkeys("abc", ()))
    before = {one: members.ranked({"stream": one})[0] for one in ids}
    members.update(
        {name: [one for one in ids if before[one] == name] for name in "abc"} | {"d": []}
    )
    assert {one: members.ranked({"stream": one})[0] for one in ids} == before
    members.update(dict.fromkeys("abcd", ()))  # also if nobody reported any
    moved = {one for one in ids if members.ranked({"stream": one})[0] != before[one]}
    assert {members.ranked({"stream": one})[0] for one in moved} == {"d"}
    assert all(20 <= list(before.values()).count(name) <= 180 for name in "abc")


def test_one_that_hung_is_asked_last_for_a_while():
    now = [0.0]
    members = Membership(lambda: now[0])
    members.update({"a": ["door"], "b": []})
    members.suspect("a")
    assert members.ranked({"stream": "door"}) == ["b"]
    now[0] = 60
    assert members.ranked({"stream": "door"}) == ["a", "b"]
