"""Responses that are kept in Redis: any process tells of them, and another goes on with them."""

import json
import random
import re
import threading
from collections import Counter
from concurrent.futures import CancelledError

import httpx
import pytest
from one_thing import thing_jpeg
from processes import until
from service import running_service
from structlog.testing import capture_logs

from app.server.answering import Answering
from app.server.api_errors import ApiError
from app.server.ask_request import AskRequest, NamedStream
from app.server.background import BackgroundResponses
from app.server.keys import Caller, ScopedKey, new_key
from app.server.response_record import ResponseRecord, response_document
from app.server.time_range import QuestionSpan
from memory import RedisLink, RedisTasks, StoreAwayError
from memory.tiers.redis import redis_tasks
from vstream.decoding.token_choice import Decoding
from vstream.service.event_log import EventLog
from vstream.service.inquiry import AnswerPiece

SOMEBODY = Caller("somebody")
PIECES = ["A ", "red ", "van ", "at ", "the ", "gate."]


class Inquiry:
    """Says `pieces` and, once it has said `pause_after`, waits until it may go on."""

    def __init__(self, pieces=PIECES, pause_after=None):
        self._pieces, self._pause_after = pieces, pause_after
        self.has_paused, self.may_go_on = threading.Event(), threading.Event()

    @property
    def pieces(self):
        for number, piece in enumerate(self._pieces):
            if number == self._pause_after:
                self._pause()
            yield AnswerPiece("door", piece)
        if self._pause_after == len(self._pieces):
            self._pause()

    def _pause(self):
        self.has_paused.set()
        assert self.may_go_on.wait(20)
        if self.asker.has_left:
            raise CancelledError


class Service:
    """As one process of several has them. `inquiry` is what it would go on with."""

    def __init__(self, url, inquiry=None):
        self.tasks = RedisTasks(RedisLink(url), 3, 600)
        self.responses = BackgroundResponses(EventLog(), Answering(4), self.tasks)
        self.inquiry, self.taken = inquiry, []

    def go_on(self):
        self.responses.go_on(lambda made: [self.taken.append(made), self._asked()][1])

    def _asked(self):
        return (lambda: self.inquiry), (lambda inquiry: [])

    def begin(self, inquiry, **more):
        decoding = Decoding(**more.pop("decoding", {}))
        stream = NamedStream("door", QuestionSpan(from_="-1h"))
        spans = {"door": QuestionSpan(as_of_s=3.0)}
        made = ResponseRecord(
            owner="somebody",
            model="embedded",
            request=AskRequest("what?", "be brief", (), (stream,), decoding, spans=spans),
            asker=Answering(1).take(None),
            background=True,
            metadata={"for": "a test"},
            **more,
        )
        inquiry.asker = made.asker
        self.responses._answering._askers.append(made.asker)
        self.responses.begin(made, lambda: inquiry, lambda inquiry: [])
        return made.id

    def told(self, response_id):
        """All events, as they come, of another process as well."""
        return list(self.responses.get(response_id, SOMEBODY).follow())

    def is_killed(self):
        """It holds nothing any more, and does not know it."""
        self.responses._stop.set()
        if self.responses._holding is not None:
            self.responses._holding.join()
        with self.tasks._link.client.pipeline() as pipeline:
            for task_id in self.responses._kept:
                pipeline.delete(redis_tasks._by(task_id))
            pipeline.execute()


def show(running, name):
    """A stream of that name, with an owl in its one frame."""
    running.post("/v1/streams", {"id": name, "source": {"type": "push"}})
    running.http.post(f"/v1/streams/{name}/frames", content=thing_jpeg("owl"))
    running.await_stream(name, lambda told: told["memory"]["blocks"])


@pytest.fixture
def service(redis_server, monkeypatch):
    """Makes one more."""
    monkeypatch.setattr("app.server.background._HOLD_S", 0.05)
    made = []

    def one_more(inquiry=None):
        made.append(Service(redis_server.url, inquiry))
        return made[-1]

    yield one_more
    for one in made:
        one.responses.close(0.0)


def others(events, response_id):
    """What they say beside words, but for what differs from one response to another."""
    told = [one for one in events if "delta" not in one]
    text = json.dumps([{**one, "sequence_number": 0} for one in told])
    text = text.replace(response_id.removeprefix("resp_"), "ID")
    return json.loads(re.sub(r'"created_at": \d+', '"created_at": 0', text))


@pytest.mark.parametrize("after", [0, 3, len(PIECES)])
def test_another_process_goes_on_to_the_letter_with_what_was_left(service, after):
    one, other, third = service(), service(), service()
    undisturbed = one.begin(Inquiry())
    wanted = one.told(undisturbed)
    paused = Inquiry(pause_after=after)
    left = one.begin(paused)
    assert paused.has_paused.wait(20)
    other.inquiry = Inquiry(["A re", "d van", " at the ", "gate."])
    heard = []
    listening = threading.Thread(target=lambda: heard.extend(third.told(left)))
    listening.start()
    before = third.responses.get(left, SOMEBODY)
    assert (before.status, before.text) == ("in_progress", "".join(PIECES[:after]))
    one.is_killed()
    other.go_on()
    listening.join(20)
    if after in (0, len(PIECES)):
        pieces = len(PIECES[:after]) + 4 * (after == 0)
        assert [one["type"] for one in heard].count("response.output_text.delta") == pieces
    assert "".join(one.get("delta", "") for one in heard) == "".join(PIECES)
    assert [one["sequence_number"] for one in heard] == list(range(len(heard)))
    assert others(heard, left) == others(wanted, undisturbed)
    [taken] = other.taken
    assert taken.request.spans == {"door": QuestionSpan(as_of_s=3.0)}
    assert taken.request.streams[0].span.from_ == "-1h"
    paused.may_go_on.set()  # it wakes up, and what it says is nobody's business
    until(lambda: not one.responses._kept)
    assert third.told(left) == heard


def test_a_damaged_response_is_forgotten_and_the_others_are_gone_on_with(service):
    first, second = service(), service(Inquiry())
    damaged = f"resp_{'0' * 32}"
    first.tasks.begin(damaged, '{"owner": "somebody"}')
    first.tasks.let_go(damaged)
    paused = Inquiry(pause_after=2)
    made = first.begin(paused)
    assert paused.has_paused.wait(20)
    first.is_killed()
    second.go_on()
    until(lambda: [one.id for one in second.taken] == [made])
    until(lambda: second.tasks.lines(damaged) == [])
    paused.may_go_on.set()


def test_a_response_with_a_damaged_byte_is_whole_or_unknown(service):
    one, other = service(), service()
    made = one.begin(Inquiry())
    until(lambda: not one.responses._kept)
    lines, drawn, refused = one.tasks.lines(made), random.Random(3), Counter()
    damaged = [
        [*lines[:-1], lines[-1].replace(b'"vstream": []', b'"vstream": [{}]')],
        [lines[0], b"1"],
    ]
    for _ in range(300):
        told = [bytearray(line) for line in lines[: drawn.randint(1, len(lines))]]
        line = drawn.choice(told)
        line[drawn.randrange(len(line))] ^= 1 << drawn.randrange(8)
        damaged.append(list(map(bytes, told)))
    for told in damaged:
        other.tasks.lines = lambda *_, told=told: told
        with capture_logs() as logged:
            try:
                seen = response_document(other.responses.get(made, SOMEBODY))
                assert seen["status"] in ("queued", "in_progress", "completed")
            except ApiError as error:
                events = [entry["event"] for entry in logged]
                refused[error.status, *events] += 1
    refused.pop((404,), None)  # it is somebody else's
    assert refused.keys() == {(404, "response damaged")}


def test_a_response_that_one_may_not_see_is_the_same_as_an_unknown_one(redis_server):
    """Nor one that is damaged, or about a stream that the key could see before."""
    key, digest = new_key()

    def started(*streams):
        scoped = [ScopedKey(name="one", hash=digest, streams=streams, can={"ask"})]
        return running_service(store=redis_server.url, key="correct-horse-battery", scoped=scoped)

    def asked(service, **more):
        headers = {"Authorization": f"Bearer {key}"}
        return httpx.request(
            url=f"{service.url}/v1/responses{more.pop('at', '')}",
            headers=headers,
            timeout=60,
            **more,
        )

    with started("door", "yard") as service:
        for name in ("door", "yard"):
            show(service, name)
        made = []
        for name in ("door", "yard", "yard"):
            parts = [{"type": "video_url", "video_url": {"url": f"stream://{name}"}}]
            parts.append({"type": "input_text", "text": "what?"})
            question = {"input": [{"role": "user", "content": parts}], "max_output_tokens": 2}
            made.append(asked(service, method="POST", json=question).json()["id"])
        foreign, damaged, mine = made
    with redis_server.client() as client:
        client.lset(redis_tasks._task(damaged), 0, b'{"owner": "one"}')
    with started("yard") as service:
        assert asked(service, method="GET", at=f"/{mine}").status_code == 200
        unknown = f"resp_{'0' * 32}"
        for way, after in (("GET", ""), ("POST", "/cancel"), ("DELETE", ""), ("POST", None)):

            def told(name):
                more = {"at": f"/{name}{after}"}  # noqa: B023
                if after is None:  # noqa: B023
                    more = {"json": {"input": "and then?", "previous_response_id": name}}
                found = asked(service, method=way, **more)  # noqa: B023
                return found.status_code, found.text.replace(name, "ID")

            wanted = told(unknown)
            assert wanted[0] == 404
            assert [told(foreign), told(damaged)] == [wanted] * 2


@pytest.mark.parametrize(
    "more", [{"decoding": {"temperature": 1.0}}, {"shows_media": True}], ids=["drawn", "pictures"]
)
def test_what_would_be_another_answer_is_said_to_be_lost(service, more):
    one, other = service(), service(Inquiry())
    paused = Inquiry(pause_after=2)
    left = one.begin(paused, **more)
    assert paused.has_paused.wait(20)
    one.is_killed()
    other.go_on()
    *_, last = other.told(left)
    assert last["type"] == "response.failed"
    assert last["response"]["error"]["code"] == "worker_lost"
    assert last["response"]["output"][0]["content"][0]["text"] == "A red "
    paused.may_go_on.set()


def test_another_answer_is_not_mixed_with_the_first(service):
    one, other = service(), service(Inquiry(["A ", "blue ", "van."]))
    paused = Inquiry(pause_after=2)
    left = one.begin(paused)
    assert paused.has_paused.wait(20)
    one.is_killed()
    other.go_on()
    *_, last = other.told(left)
    assert (last["type"], "blue" in str(last)) == ("response.failed", False)
    paused.may_go_on.set()


def test_a_process_that_ends_leaves_its_answers_at_once(service):
    one, other = service(), service(Inquiry())
    paused = Inquiry(pause_after=2)
    left = one.begin(paused)
    one.go_on()
    assert paused.has_paused.wait(20)
    closing = threading.Thread(target=one.responses.close, args=(0.0,))
    closing.start()
    until(lambda: one.responses._kept[left].is_left)
    assert not other.taken
    other.go_on()
    paused.may_go_on.set()
    closing.join()
    assert other.told(left)[-1]["type"] == "response.completed"
    assert [made.id for made in other.taken] == [left]


def test_another_process_cancels_and_forgets(service):
    one, other = service(), service()
    one.go_on()
    asking = Inquiry(pause_after=2)
    made = one.begin(asking)
    assert asking.has_paused.wait(20)
    other.responses.cancel(made, SOMEBODY)
    until(lambda: one.responses._kept[made].asker.has_left)
    asking.may_go_on.set()
    assert other.told(made)[-1]["type"] == "response.cancelled"
    until(lambda: not one.responses._kept)
    with pytest.raises(ApiError):
        other.responses.get(made, Caller("somebody else"))
    other.responses.forget(other.responses.get(made, SOMEBODY))
    for either in (one, other):
        with pytest.raises(ApiError):
            either.responses.get(made, SOMEBODY)


@pytest.mark.parametrize("is_shared", [False, True], ids=["in this process", "in Redis"])
def test_a_stretch_that_is_forgotten_takes_the_responses_about_its_stream_along(
    is_shared, redis_server
):
    with running_service(**{"store": redis_server.url} if is_shared else {}) as service:
        show(service, "door")

        def asked(*names, **more):
            parts = [
                {"type": "video_url", "video_url": {"url": f"stream://{name}"}} for name in names
            ]
            parts.append({"type": "input_text", "text": "what?"})
            question = {"input": [{"role": "user", "content": parts}], "max_output_tokens": 2}
            return service.post("/v1/responses", {**question, **more})["id"]

        unnamed = asked()  # there is no other stream
        [meant] = service.service.responses.find(unnamed).request.streams
        assert meant.stream_id == "door", "also before it is answered"
        show(service, "yard")
        about_it = asked("door")
        follow_up = asked("yard", previous_response_id=about_it)
        other = asked("yard")
        service.delete("/v1/streams/door/memory", params={"from_s": 0, "to_s": 1})
        found = [
            service.http.get(f"/v1/responses/{one}").status_code
            for one in (unnamed, about_it, follow_up, other)
        ]
        assert found == [404, 404, 404, 200]


def test_a_response_that_is_not_ended_is_forgotten_and_ends(service):
    one, other = service(), service()
    asking = Inquiry(pause_after=2)
    made = one.begin(asking)
    assert asking.has_paused.wait(20)
    heard = []
    following = one.responses.get(made, SOMEBODY)
    listening = threading.Thread(target=lambda: heard.extend(following.follow()))
    listening.start()
    other.responses.forget_stretch("door", 0.0, 1.0)  # the stream may be another process's
    asking.may_go_on.set()
    listening.join(20)
    assert heard[-1]["type"] == "response.completed"
    until(lambda: not one.responses._kept)
    assert other.responses.find(made) is None


def test_responses_are_forgotten_once_the_store_is_back(service, monkeypatch):
    one, other = service(), service()
    made = one.begin(Inquiry())
    until(lambda: not one.responses._kept)
    everything, is_away = other.tasks.all, [True]

    def told():
        if is_away[0]:
            raise StoreAwayError("away")
        return everything()

    monkeypatch.setattr(other.tasks, "all", told)
    other.responses.forget_stretch("door", 0.0, 1.0)
    assert one.responses.find(made) is not None
    other.go_on()
    is_away[0] = False
    until(lambda: one.responses.find(made) is None)


def test_the_newest_are_kept(service):
    one, other = service(), service()
    made = [one.begin(Inquiry()) for _ in range(5)]
    until(lambda: not one.responses._kept)
    kept = [made for made in made if other.responses.find(made) is not None]
    assert len(kept) == 3


def test_an_answer_is_kept_once_the_store_is_back(service, monkeypatch):
    one, other = service(), service()
    append, is_away = one.tasks.append, [True]

    def told(*args, **more):
        if is_away[0]:
            raise StoreAwayError("away")
        return append(*args, **more)

    monkeypatch.setattr(one.tasks, "append", told)
    made = one.begin(Inquiry())
    assert one.told(made)[-1]["type"] == "response.completed"
    assert other.responses.find(made) is None
    is_away[0] = False
    one.go_on()
    until(lambda: other.responses.find(made) is not None)
    assert other.told(made)[-1]["response"]["output"][0]["content"][0]["text"] == "".join(PIECES)
