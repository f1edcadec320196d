"""A question with a zone sees what was captured at the time that its words name, and that alone."""

import json
from dataclasses import asdict, replace
from datetime import datetime

import pytest
from engine import answer_of, open_session, stream_frames, tiny_video_llm

from encoders import Turn
from vstream.engine import view_at
from vstream.errors import QuestionError
from vstream.question import Question, Stretch
from vstream.times.named_view import named_view
from vstream.times.zone import zone_of

ENGINE = {"window_frames": 6, "window_stride": 2, "recent_frames": 3, "retrieve_blocks": 4}
BEGUN = datetime.fromisoformat("2023-11-14T23:13:20+01:00").timestamp()
"""When the first of the frames was captured; the last is of 23:14:49."""
ASKED = BEGUN + 90
PRAGUE = "Europe/Prague"
QUESTIONS = [
    ("between 23:13:40 and 23:14:10 what was there?", "between 0:20 and 0:50 what was there?"),
    ("who was there between 11:13:40 and 11:14:10 pm?", "who was there between 0:20 and 0:50?"),
    ("what has come since 23:14:40?", "what has come since 1:20?"),
    ("what came in the last 10 seconds?", "what came since 1:20?"),
    ("at 23:14:00 what was there?", "at 0:40 what was there?"),
    ("what do you see now?", "what do you see now?"),
]


@pytest.fixture(scope="module", params=["llama", "embedded"])
def session(request):
    session = open_session(tiny_video_llm(request.param)[0], max_answer_tokens=5, **ENGINE)
    session.push(stream_frames(90))
    return session


@pytest.fixture(scope="module")
def embedded():
    session = open_session(tiny_video_llm("embedded")[0], max_answer_tokens=5, **ENGINE)
    session.push(stream_frames(90))
    return session


def by_clock(text, **more):
    return Question(text, **{"zone": PRAGUE, "asked_at": ASKED, **more})


def blocks(session, question):
    return {one.block_id for one in session.ask(question).answer.evidence}


@pytest.mark.parametrize(("clock", "stream"), QUESTIONS)
def test_a_model_that_knows_stream_time_is_asked_in_it(embedded, clock, stream):
    assert answer_of(embedded, by_clock(clock)) == answer_of(embedded, Question(stream))


def test_the_words_are_put_into_stream_time_in_their_place(embedded):
    def reads(text, reads_stream_time=True):
        view = view_at(embedded.memory, None, 3)
        found = named_view(by_clock(text), embedded.memory, view, 3, reads_stream_time)
        return found.read_as.text

    asked = "Who came between 23:13:40 and 11:14:10 pm, and why?"
    assert reads(asked) == "Who came between 0:00:20 and 0:00:50, and why?"
    assert reads(asked, reads_stream_time=False) == asked
    assert reads("at 23:13:40 or at 23:14:10?") == "at 0:00:20 or at 0:00:50?"
    assert (
        reads("before 23:13:40 or since 23:14:10?")
        == "between 0:00:00 and 0:00:20 or since 0:00:50?"
    )
    assert reads("today at 11:13 pm or yesterday at noon?") == "at 0:00:20 or yesterday at noon?"


def test_so_are_the_earlier_questions_of_a_dialogue(embedded):
    def said(first, then):
        return then, (Turn(first, "a dog"),)

    text, turns = said("who was there at 23:14:00?", "and since 23:14:40?")
    in_stream, turns_in_stream = said("who was there at 0:40?", "and since 1:20?")
    assert answer_of(embedded, by_clock(text, dialogue=turns)) == answer_of(
        embedded, Question(in_stream, dialogue=turns_in_stream)
    )


def test_another_model_reads_what_was_typed():
    session = open_session(tiny_video_llm("llama")[0], max_answer_tokens=5, **ENGINE)
    session.push(stream_frames(90))
    text = "between 23:13:40 and 23:14:10 what was there?"
    assert answer_of(session, by_clock(text)) == answer_of(session, Question(text, 50.0, (), 20.0))


def test_only_what_was_captured_then_is_seen(session):
    assert blocks(session, by_clock("between 23:13:40 and 23:14:10?")) <= set(range(20, 51))
    assert blocks(session, by_clock("who came at 23:14?")) <= set(range(40, 90))
    assert blocks(session, by_clock("in the last 10 seconds?")) <= set(range(80, 90))
    assert blocks(session, by_clock("before 23:13:25?")) <= set(range(6))
    assert {87, 88, 89} <= blocks(session, by_clock("what is there?"))


def test_a_time_means_that_of_the_zone(session):
    there = session.ask(by_clock("between 5:13:40 and 5:14:10 pm?", zone="America/New_York"))
    assert there.looked == session.ask(by_clock("between 23:13:40 and 23:14:10?")).looked
    with pytest.raises(QuestionError, match="nothing is kept"):
        session.ask(by_clock("between 5:13:40 and 5:14:10 pm?"))


def test_explicit_bounds_hold_as_well(session):
    asked = by_clock("between 23:13:40 and 23:14:10?", at_s=30.0)
    assert blocks(session, asked) <= set(range(20, 31))
    assert blocks(session, replace(asked, from_s=25.0)) <= set(range(25, 31))
    with pytest.raises(QuestionError, match="in the stream from 60 s on up to 70 s"):
        session.ask(replace(asked, from_s=60.0, at_s=70.0))


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("who came yesterday evening?", "2023-11-13 18:00:00 to 23:00:00 (Europe/Prague)"),
        ("between 2 and 3 pm?", "2023-11-14 14:00:00 to 15:00:00 (Europe/Prague)"),
        ("last night?", "2023-11-13 23:00:00 to 2023-11-14 06:00:00 (Europe/Prague)"),
        ("before yesterday?", "up to 2023-11-13 00:00:00 (Europe/Prague)"),
    ],
)
def test_a_time_of_which_nothing_is_kept_is_refused(session, text, meant):
    with pytest.raises(QuestionError) as told:
        session.ask(by_clock(text))
    assert str(told.value) == (
        f"nothing is kept of {meant}: the memory holds 2023-11-14 23:13:20 to 23:14:49 "
        "(Europe/Prague)"
    )


def test_a_still_scene_is_what_it_was_a_minute_before():
    session = open_session(tiny_video_llm("llama")[0], max_answer_tokens=5, **ENGINE)
    session.push(stream_frames(8) + stream_frames(4, start=60) + stream_frames(2, start=600))
    assert blocks(session, by_clock("at 23:13:40?")) == {6, 7}
    asked = by_clock("in the last 30 seconds?", asked_at=BEGUN + 100)
    assert blocks(session, asked) == {10, 11}
    with pytest.raises(QuestionError, match="nothing is kept"):
        session.ask(by_clock("at 23:16:00?", asked_at=BEGUN + 700))


def test_a_camera_whose_clock_is_ahead_is_seen_up_to_its_newest_frame(session):
    early = by_clock("in the last 10 seconds?", asked_at=ASKED - 20)
    assert 89 in blocks(session, early)


def test_an_answer_says_where_it_looked(session):
    answer = session.ask(by_clock("between 23:13:40 and 23:14:10?")).answer
    assert answer.looked == Stretch(20.0, 50.0, BEGUN + 20, BEGUN + 50)
    assert session.ask(by_clock("before yesterday or so?", zone=None)).answer.looked is None
    assert session.ask(Question("between 0:20 and 0:50?")).answer.looked == Stretch(20.0, 50.0)
    assert session.ask(Question("who is there?", 50.0, (), 20.0)).answer.looked is None
    assert json.loads(json.dumps(answer.document()))["looked"] == asdict(answer.looked)
    assert session.ask("what is there?").answer.document()["looked"] is None


@pytest.mark.parametrize("asked_at", [float("nan"), float("inf"), 1e300])
def test_an_impossible_moment_of_asking_is_refused(session, asked_at):
    with pytest.raises(QuestionError, match="no moment"):
        session.ask(by_clock("at noon?", asked_at=asked_at))


@pytest.mark.parametrize("name", ["Middle/Earth", "", "/etc/passwd", "../UTC", "Europe", "a\0b"])
def test_an_unknown_zone_is_refused(session, name):
    with pytest.raises(QuestionError, match="is no time zone"):
        session.ask(by_clock("at noon?", zone=name))
    with pytest.raises(QuestionError, match="as Europe/Prague"):
        zone_of(name)
