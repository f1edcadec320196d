"""What the strip is told: marks are what was retrieved and fired, history comes when it changed."""

import io

import pytest
from PIL import Image
from service import running_service
from synthetic_video import picture

from app.client import ServiceClient, ServiceError
from app.page.timeline_view import PARTS, Stretch, TimelineView, history_document, marks_document
from app.page.visitors import Visitor
from app.server.documents import Citation

APART_S = 60
BLOCKS = 20


class CountingClient(ServiceClient):
    """Counts how often a history was asked for."""

    asked = 0

    def timeline(self, *arguments):
        self.asked += 1
        return super().timeline(*arguments)


@pytest.fixture(scope="module")
def client():
    with running_service() as service, CountingClient(service.url) as client:
        client.create_stream("door", {"type": "push"}, sampling={"fps": 1, "dedup": 0})
        for number in range(BLOCKS):
            buffer = io.BytesIO()
            Image.fromarray(picture(number)).save(buffer, "JPEG")
            headers = {"X-Capture-Time": str(1.7e9 + APART_S * number)}
            path = "/v1/streams/door/frames"
            service.http.post(path, content=buffer.getvalue(), headers=headers)
            service.await_stream("door", lambda told: told["memory"]["blocks"] > number)  # noqa: B023
        yield client


@pytest.fixture
def view(client):
    return TimelineView(client)


def cited(end_s, score):
    times = {"start_s": end_s, "end_s": end_s, "captured_at": 0.0}
    return Citation(stream_id="door", start="", end="", score=score, frame_url="", **times)


def test_a_history_is_told_whole_with_the_present(client, view):
    told = view.history("my door", "door", Stretch())
    assert told == history_document("my door", client.timeline("door", PARTS), told["now_s"])
    assert (told["kept_from_s"], told["now_s"]) == (0, APART_S * (BLOCKS - 1))
    assert sum(begin <= APART_S * 7 < end for begin, end, *_ in told["parts"]) == 1


def test_a_stretch_is_drawn_from_its_own_parts(view):
    told = view.history("door", "door", Stretch(10, 300.0, 600.0, 300.0))
    assert all(300 <= change_s <= 600 for *_, change_s in told["parts"])
    assert told["part_s"] == pytest.approx(30)
    assert told["kept_to_s"] == APART_S * (BLOCKS - 1)


def test_it_is_asked_for_again_once_it_may_have_changed_by_the_width_of_a_part(client, view):
    before = client.asked
    assert view.history("door", "door", Stretch()) is not None
    for _ in range(5):
        assert view.history("door", "door", Stretch()) is None
    assert client.asked == before + 1
    lasts_s = APART_S * (BLOCKS - 1) / PARTS
    view._fetched_at -= lasts_s - 0.5
    assert view.history("door", "door", Stretch()) is None
    view._fetched_at -= 0.5
    assert view.history("door", "door", Stretch()) is not None


def test_another_stretch_or_stream_is_asked_for_at_once_and_the_present_is_followed_calmly(view):
    assert view.history("door", "door", Stretch()) is not None
    assert view.history("door", "door", Stretch(PARTS, 0.0, 300.0, 300.0)) is not None
    assert view.history("door", "door", Stretch(PARTS, 100.0, 400.0, 300.0)) is not None
    following = [Stretch(PARTS, begin_s, None, 300.0) for begin_s in (840.0, 841.0, 842.0)]
    told = [view.history("door", "door", one) is not None for one in following]
    assert told == [True, False, False]


def test_a_refusal_is_raised_and_the_next_look_asks_again(client, view):
    before = client.asked
    for _ in range(2):
        with pytest.raises(ServiceError):
            view.history("gone", "gone", Stretch())
    assert client.asked == before + 2


def test_marks_are_each_answers_moments_newest_first_and_told_when_they_change(view):
    visitor = Visitor()
    visitor.streams = dict.fromkeys(("door", "gate"))
    nothing = {"stream": "my door", "answers": [], "firings": []}
    assert view.marks(visitor.exchanges, "my door", "door") == nothing
    visitor.ask("who?", "door").citations = [cited(10.0, 0.5), cited(20.0, 1.0)]
    visitor.ask("elsewhere?", "gate").citations = [cited(1.0, 0.1)]
    visitor.ask("where?", "door").citations = [cited(30.0, 0.25)]
    visitor.ask("not answered yet?", "door")
    told = view.marks(visitor.exchanges, "my door", "door")
    assert [(one["number"], one["question"], one["moments"]) for one in told["answers"]] == [
        (2, "where?", [[30.0, 0.25]]),
        (0, "who?", [[10.0, 0.5], [20.0, 1.0]]),
    ]
    assert view.marks(visitor.exchanges, "my door", "door") is None


def test_firings_are_those_on_the_stream(client):
    alert = client.add_alert("door", "a burger")
    firing = {
        "id": 1,
        "alert_id": alert.id,
        "condition": alert.condition,
        "at": 0.0,
        "probability": 0.9,
        "is_seen": False,
        "frame_url": "",
        "clip_url": "",
        "sentence": None,
    }
    fired = [
        {**firing, "stream_id": name, "at_s": at_s} for name, at_s in (("door", 5.0), ("x", 6.0))
    ]
    told = alert.model_validate({**alert.model_dump(), "firings": fired})
    assert marks_document([], [told], "door")["firings"] == [
        {"at_s": 5.0, "condition": "a burger", "probability": 0.9}
    ]
    client.delete_alert(alert.id)


def test_what_is_shown_no_more_is_forgotten_once(view):
    assert not view.forget()
    view.history("door", "door", Stretch())
    assert view.forget()
    assert not view.forget()
    assert view.history("door", "door", Stretch()) is not None
