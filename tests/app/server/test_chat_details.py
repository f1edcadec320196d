"""What questions may say and what comes of it: times, words, dialogues, what is forgotten."""

import io
import time
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from one_thing import thing_jpeg
from PIL import Image
from service import running_service

from app.server.keys import ScopedKey, new_key

MASTER = "correct-horse-battery"
FRIEND, FRIEND_HASH = new_key()
BEGAN = 0.0
"""When the tests of this file began: minutes are told back from here."""
OWL_MIN = range(20, 13, -1)
"""So many minutes ago an owl was seen at the door, once a minute."""
BURGER_MIN = range(6, 1, -1)
NOON_ZONE = f"Etc/GMT{datetime.now(UTC).hour - 12:+d}"
"""Where it is about noon now, so that no test runs over midnight; its sign is as POSIX has it."""


@pytest.fixture(scope="module", autouse=True)
def _began():
    global BEGAN  # not when the file was read: other tests may have run since
    BEGAN = time.time()


@pytest.fixture(scope="module")
def service():
    friend = ScopedKey(name="friend", hash=FRIEND_HASH, streams=("door",), can={"ask"})
    with running_service(key=MASTER, scoped=[friend]) as running:
        for stream_id in ("door", "yard"):
            running.post(
                "/v1/streams",
                {"id": stream_id, "source": {"type": "push"}, "timezone": NOON_ZONE},
            )
        _push_past(running, "door")
        push(running, "yard", "burger", BEGAN - 10)
        yield running


def _push_past(service, stream_id, began=None):
    for thing, minutes in (("owl", OWL_MIN), ("burger", BURGER_MIN)):
        for minute in minutes:
            push(service, stream_id, thing, (began or BEGAN) - 60 * minute, part=minute / 25)


def push(service, stream_id, thing, at, part=0.5):
    """Once it returns, the picture can be asked about."""
    path = f"/v1/streams/{stream_id}"
    before = service.get(path)["frames"]["encoded"]
    headers = {"X-Capture-Time": f"{at:.3f}", "Content-Type": "image/jpeg"}
    answer = service.http.post(f"{path}/frames", content=thing_jpeg(thing, part), headers=headers)
    assert answer.json()["accepted"], answer.text
    service.await_stream(stream_id, lambda told: told["frames"]["encoded"] > before)


def cited(told):
    return told["choices"][0]["message"]["annotations"]


def said(told):
    return told["choices"][0]["message"]["content"]


def rfc3339(minutes_ago, zone=UTC):
    return datetime.fromtimestamp(BEGAN - 60 * minutes_ago, zone).isoformat()


def stretches():
    """The same two stretches, in each way to say them."""
    return {
        "relative": ("from=-22m&to=-10m", "from=-10m"),
        "absolute": (
            f"from={rfc3339(22).replace('+', '%2B')}&to={rfc3339(10).replace('+', '%2B')}",
            f"from={rfc3339(10).replace('+', '%2B')}",
        ),
        "epoch": (
            f"from={BEGAN - 22 * 60:.0f}&to={BEGAN - 10 * 60:.0f}",
            f"from={BEGAN - 600:.0f}",
        ),
        "stream time": ("from_s=0&to_s=600", "from_s=600"),
    }


def test_a_question_may_be_asked_as_of_a_moment(service):
    now = service.ask("what do you see?", "stream://door")["vstream"][0]
    then = service.ask("what do you see?", "stream://door?as_of_s=100")["vstream"][0]
    assert then["newest_frame_s"] <= 100 < now["newest_frame_s"]
    assert then["looked_to_s"] is None


@pytest.mark.parametrize("way", ["relative", "absolute", "epoch", "stream time"])
def test_a_question_looks_at_the_stretch_that_it_names(service, way):
    early, late = stretches()[way]
    of_early = service.ask("what do you see now?", f"stream://door?{early}")
    of_late = service.ask("what do you see now?", f"stream://door?{late}")
    assert (said(of_early), said(of_late)) == ("an owl", "a burger")
    change = BEGAN - 10 * 60
    assert all(one["captured_at"] < change for one in cited(of_early))
    assert all(one["captured_at"] > change for one in cited(of_late))


def test_the_same_stretch_is_searched(service):
    everything = service.post("/v1/search", {"query": "owl", "stream_ids": ["door"]})["data"]
    assert {one["captured_at"] < BEGAN - 600 for one in everything} == {True, False}
    for span in ({"from": "-22m", "to": "-10m"}, {"from_s": 0, "to_s": 600}):
        found = service.post("/v1/search", {"query": "owl", "stream_ids": ["door"], **span})
        assert found["data"]
        assert all(one["captured_at"] < BEGAN - 600 for one in found["data"])


def test_words_name_times_in_the_zone_of_the_stream(service):
    def clock(minutes_ago):
        zone = ZoneInfo(NOON_ZONE)
        return datetime.fromtimestamp(BEGAN - 60 * minutes_ago, zone).strftime("%H:%M")

    lately = service.ask("have you seen a burger in the last ten minutes?", "stream://door")
    assert said(lately).startswith("Yes, ")  # from spans
    assert all(one["captured_at"] > time.time() - 620 for one in cited(lately))
    early = service.ask(f"what did you see between {clock(22)} and {clock(12)}?", "stream://door")
    captured = [one["captured_at"] for one in cited(early)]
    assert BEGAN - 22 * 60 - 60 < min(captured) <= max(captured) < BEGAN - 11 * 60
    (evidence,) = early["vstream"]
    assert evidence["looked_to_s"] < 600
    assert set(evidence) == {  # clients read these
        *("stream_id", "as_of", "newest_frame_at", "newest_frame_age_s", "newest_frame_s"),
        *(
            "looked_from_s",
            "looked_to_s",
            "confidence",
            "unsure",
            "unsure_because",
            "strange",
            "knows",
            "moments",
            "plan",
            "spans",
            "coarser_since",
        ),
        *("ttft_ms", "total_ms", "tools_ignored"),
    }
    assert evidence["spans"]
    for span in evidence["spans"]:
        assert min(captured) <= span["from_at"] <= span["to_at"] <= max(captured)


@pytest.mark.parametrize("words", ["yesterday evening", "three days ago", "on 2001-01-01"])
def test_a_time_of_which_nothing_is_kept_is_refused(service, words):
    refused = service.http.post(
        "/v1/chat/completions",
        json={"messages": [_message(f"what happened {words}?", "stream://door")]},
    )
    assert refused.status_code == 400
    assert "nothing is kept" in refused.json()["error"]["message"]


def test_frames_are_shown_by_time(service):
    minutes_ago = OWL_MIN[2]
    at = BEGAN - 60 * minutes_ago
    stream_s = 60 * (OWL_MIN[0] - minutes_ago)
    for query in (
        {"t": f"{at + 5:.3f}"},
        {"t": datetime.fromtimestamp(at + 5, UTC).isoformat()},
        {"t": datetime.fromtimestamp(at + 5, ZoneInfo(NOON_ZONE)).isoformat()},
        {"t": datetime.fromtimestamp(at + 5, ZoneInfo(NOON_ZONE)).isoformat()[:19]},
        {"t_s": stream_s + 5},
    ):
        shown = service.http.get("/v1/streams/door/frame.jpg", params=query)
        assert shown.status_code == 200, shown.text
        assert float(shown.headers["x-capture-time"]) == pytest.approx(at, abs=0.01)
        assert float(shown.headers["x-stream-time"]) == pytest.approx(stream_s, abs=0.01)
    newest = service.http.get("/v1/streams/door/frame.jpg")
    assert _difference(newest.content, thing_jpeg("burger", BURGER_MIN[-1] / 25)) < 4
    for query, status in (({"t": "-30m"}, 404), ({"t": "lately"}, 400), ({"t_s": -1}, 422)):
        refused = service.http.get("/v1/streams/door/frame.jpg", params=query)
        assert refused.status_code == status


def test_a_limit_of_a_search_is_kept(service):
    for limit in (1, 2):
        found = service.post("/v1/search", {"query": "owl", "limit": limit})
        assert len(found["data"]) == limit
        assert found["data"] == sorted(found["data"], key=lambda one: -one["score"])
    for wrong in ({"limit": 0}, {"limit": 101}, {"limit": "3"}, {"query": ""}, {"stream_ids": []}):
        refused = service.http.post("/v1/search", json={"query": "owl", **wrong})
        assert refused.status_code == 422
        assert refused.json()["error"]["param"] == next(iter(wrong))


def test_a_question_must_say_which_of_several_streams_it_is_about(service):
    refused = service.http.post(
        "/v1/chat/completions", json={"messages": [{"role": "user", "content": "what is there?"}]}
    )
    assert refused.status_code == 400
    error = refused.json()["error"]
    assert error["code"] == "no_stream"
    assert "door, yard" in error["message"]


@pytest.mark.parametrize("shape", ["json_object", "json_schema"])
def test_several_streams_are_not_answered_in_what_is_no_json(service, shape):
    parts = [
        {"type": "video_url", "video_url": {"url": f"stream://{name}"}} for name in ("door", "yard")
    ]
    schema = {"json_schema": {"name": "any", "schema": {}}} if shape == "json_schema" else {}
    body = {
        "messages": [
            {"role": "user", "content": [*parts, {"type": "text", "text": "what is there?"}]}
        ],
        "response_format": {"type": shape, **schema},
    }
    refused = service.http.post("/v1/chat/completions", json=body)
    assert refused.status_code == 400
    error = refused.json()["error"]
    assert (error["code"], error["param"]) == ("unsupported_parameter", "response_format")


UNSUPPORTED = {
    "functions": [{"name": "f"}],
    "n": 2,
    "logprobs": True,
    "top_logprobs": 3,
    "logit_bias": {"50256": -100},
    "frequency_penalty": 0.5,
    "presence_penalty": -1,
    "modalities": ["text", "audio"],
}
HARMLESS = {
    "tools": [{"type": "function", "function": {"name": "f"}, "required": []}],
    "tool_choice": "required",
    "max_tokens": 16384,
    "n": 1,
    "logprobs": False,
    "logit_bias": {},
    "frequency_penalty": 0.0,
    "presence_penalty": 0,
    "modalities": ["text"],
    "user": "somebody",
    "store": True,
    "parallel_tool_calls": True,
    "reasoning_effort": "low",
}


@pytest.mark.parametrize("name", UNSUPPORTED)
def test_what_would_change_the_answer_and_is_not_understood_is_refused(service, name):
    body = {"messages": [_message("what is there?", "stream://door")], name: UNSUPPORTED[name]}
    refused = service.http.post("/v1/chat/completions", json=body)
    assert refused.status_code == 400
    error = refused.json()["error"]
    assert (error["code"], error["param"]) == ("unsupported_parameter", name)
    assert "supported here" in error["message"]


def test_what_says_the_default_is_no_matter(service):
    plain = service.ask("what do you see now?", "stream://door")
    assert said(service.ask("what do you see now?", "stream://door", **HARMLESS)) == said(plain)


@pytest.mark.parametrize(
    ("part", "param"),
    [
        ({"type": "audio_url", "audio_url": {"url": "https://x"}}, "messages.0.content.0"),
        ({"type": "text"}, "messages.0.content.0.text.text"),
        ({"type": "video_url", "video_url": {"url": "ftp://x/y.mp4"}}, "video_url"),
        ({"type": "video_url", "video_url": {"url": "stream://door?from=x"}}, None),
    ],
)
def test_a_wrong_part_is_named(service, part, param):
    body = {"messages": [{"role": "user", "content": [part, {"type": "text", "text": "who?"}]}]}
    refused = service.http.post("/v1/chat/completions", json=body)
    assert refused.status_code in (400, 422)
    assert refused.json()["error"]["param"] == param


def test_one_users_dialogue_is_nothing_to_another(service):
    """Who asks after a long dialogue of somebody else reads and says the same as before."""
    question = {"messages": [_message("what do you see now?", "stream://door")]}
    friend = {"Authorization": f"Bearer {FRIEND}"}

    def ask_as_friend():
        told = service.post("/v1/chat/completions", question, headers=friend)
        return said(told), told["usage"], [one["start_s"] for one in cited(told)]

    before = ask_as_friend()
    dialogue = [
        _message("do you see an owl?", "stream://door"),
        {"role": "assistant", "content": "no"},
        {"role": "user", "content": "is the burger from the owl?"},
    ]
    mine = service.post("/v1/chat/completions", {"messages": dialogue})
    assert mine["usage"]["prompt_tokens"] > before[1]["prompt_tokens"]
    kept = service.post("/v1/responses", {"input": dialogue})
    assert ask_as_friend() == before
    theirs = {"input": "and now?", "previous_response_id": kept["id"]}
    assert service.http.post("/v1/responses", json=theirs, headers=friend).status_code == 404


def test_what_is_forgotten_is_neither_cited_nor_shown_nor_found():
    """Also not the newest frame, of which there is a larger picture in hand."""
    with running_service() as service:
        began = time.time()
        service.post("/v1/streams", {"id": "door", "source": {"type": "push"}})
        _push_past(service, "door", began)
        question = "was there an owl?"
        assert said(service.ask(question, "stream://door")) == "yes"
        gone = service.delete("/v1/streams/door/memory?from=-22m&to=-10m")
        assert gone["blocks"] == len(OWL_MIN)
        told = service.ask(question, "stream://door")
        assert said(told) == "no"
        assert cited(told)
        assert all(one["captured_at"] > began - 600 for one in cited(told))
        found = service.post("/v1/search", {"query": "owl", "limit": 100})["data"]
        assert all(one["captured_at"] > began - 600 for one in found)
        shown = service.http.get("/v1/streams/door/frame.jpg?t=-15m")
        assert shown.status_code == 404
        service.delete("/v1/streams/door/memory?from_s=0&to_s=100000")
        assert service.http.get("/v1/streams/door/frame.jpg").status_code == 404
        assert service.get("/v1/streams/door")["memory"]["blocks"] == 0
        for query in ("", "?from=-10m", "?from_s=3"):
            assert service.http.delete(f"/v1/streams/door/memory{query}").status_code == 422


@pytest.mark.parametrize(
    "change", [{"timezone": "No/Where"}, {"context": "x" * 4001}, {"timezone": ""}]
)
def test_a_wrong_change_is_refused_in_one_line(service, change):
    refused = service.http.patch("/v1/streams/yard", json=change)
    assert refused.status_code == 422
    message = refused.json()["error"]["message"]
    assert "\n" not in message
    assert "input_value" not in message


def _message(text, *urls):
    parts = [{"type": "video_url", "video_url": {"url": url}} for url in urls]
    return {"role": "user", "content": [*parts, {"type": "text", "text": text}]}


def _difference(jpeg, other):
    one, two = (np.asarray(Image.open(io.BytesIO(data)), np.float32) for data in (jpeg, other))
    return float(np.abs(one - two).mean()) if one.shape == two.shape else 255.0
