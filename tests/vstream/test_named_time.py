"""What moment or stretch a question's words name, and that such a question sees that alone."""

from dataclasses import replace

import pytest
from engine import answer_of, open_session, stream_frames, tiny_video_llm
from hypothesis import given
from hypothesis import strategies as st

from encoders import with_time_words
from encoders.families.embedded import time_words
from memory.policies import MemoryPolicy
from vstream.question import Question
from vstream.times.named_time import NamedTime, named_time

NOW_S = 4000.0
ENGINE = {"window_frames": 6, "window_stride": 2, "recent_frames": 3, "retrieve_blocks": 4}


def moment(seconds):
    return NamedTime(None, float(seconds), is_moment=True)


@pytest.mark.parametrize(
    ("question", "named"),
    [
        ("at 12:30 what was there?", moment(750)),
        ("0h00m20s: what did you find?", moment(20)),
        ("if i had looked at 2 min 20 s, what would i have seen?", moment(140)),
        ("who was there around 1:02:05?", moment(3725)),
        ("what came between 1:00 and 2:30?", NamedTime(60.0, 150.0)),
        ("from 2:30 until 1:00, what was there?", NamedTime(60.0, 150.0)),
        ("what has happened since 5:00?", NamedTime(300.0, None)),
        ("who came after 5:00?", NamedTime(300.0, None)),
        ("who was there before 5:00?", NamedTime(None, 300.0)),
        ("how many dogs up to 10:00?", NamedTime(None, 600.0)),
        ("who came in the last minute?", NamedTime(3940.0, 4000.0)),
        ("who came in the past ten minutes?", NamedTime(3400.0, 4000.0)),
        ("what happened during the last 2 hours?", NamedTime(-3200.0, 4000.0)),
        ("what came in the last half an hour?", NamedTime(-800.0 + 3000.0, 4000.0)),
        ("anything in the previous 30 secs?", NamedTime(3970.0, 4000.0)),
        ("who came in the past hour?", NamedTime(400.0, 4000.0)),
        ("who came in the last second?", NamedTime(3999.0, 4000.0)),
        ("who came in the last seconds?", None),
        ("what happened in the last minutes?", None),
        ("what happened over the past hours?", None),
        ("anything in the previous secs?", None),
        ("what happened in the last few minutes?", None),
        ("when was the last time you saw a dog?", None),
        ("what do you see now?", None),
        ("what was there at 3:15 pm?", None),
        ("was it there at 1:00 or at 2:00?", None),
        ("what is there at 2:00:00?", None),
        ("how many of the last 3 visitors were dogs?", None),
    ],
)
def test_words_name_a_moment_a_stretch_or_nothing(question, named):
    assert named_time(question, NOW_S) == named


@pytest.mark.parametrize(
    ("question", "named"),
    [
        ("at 30:00:00 what was there?", moment(108_000)),
        ("what came between 23:00:00 and 25:00:00?", NamedTime(82_800.0, 90_000.0)),
        ("what has happened since 26:00:00?", NamedTime(93_600.0, None)),
        ("at 100h 5min 0s, what did you see?", moment(360_300)),
        ("at 500:00:00 what was there?", None),
        (f"at {'9' * 400}h00m00s what was there?", None),
        (f"in the last {'9' * 5000} minutes?", None),
    ],
)
def test_hours_go_on_after_a_day(question, named):
    assert named_time(question, 400_000.0) == named


@given(st.text(max_size=60), st.floats(0, 1e6))
def test_whatever_is_typed_a_stretch_lies_in_the_past(text, now_s):
    named = named_time(text, now_s)
    if named is not None:
        bounds = [bound for bound in (named.from_s, named.to_s) if bound is not None]
        assert bounds == sorted(bounds)
        assert all(bound <= now_s for bound in bounds)


@given(st.integers(0, 4000))
def test_a_moment_is_the_same_however_it_is_typed(second):
    typed = f"{second // 60}:{second % 60:02d}"
    question = f"at {typed} what was there?"
    for text in (question, with_time_words(question, time_words)):
        assert named_time(text, NOW_S) == moment(second)


@pytest.fixture(scope="module")
def session():
    session = open_session(tiny_video_llm("llama")[0], max_answer_tokens=5, **ENGINE)
    session.push(stream_frames(90))
    return session


def blocks(session, question, at_s=None):
    return {e.block_id for e in session.ask(Question(question, at_s)).answer.evidence}


def test_a_question_about_a_moment_sees_the_blocks_just_before_it(session):
    assert blocks(session, "what was there at 0:40?") == {39, 40}
    assert blocks(session, "what was there at 0:40?", 60.0) == {39, 40}
    assert not blocks(session, "what was there at 0:40?", 30.0) & {39, 40}, "it is to come"


def test_of_a_run_whose_inside_is_not_kept_a_moment_in_it_sees_both_ends(monkeypatch):
    monkeypatch.setattr(MemoryPolicy, "sees_beside", True)  # as that of moments
    session = open_session(tiny_video_llm("llama")[0], max_answer_tokens=5, **ENGINE)
    other, still = stream_frames(2)
    session.push([replace(still, stream_s=stream_s) for stream_s in (3.0, 9.0)])
    session.push([replace(other, stream_s=12.0)])
    assert blocks(session, "what was there at 0:06?") == {0, 1}
    assert blocks(session, "what was there at 0:06?", 8.0) == {0}, "the other end is to come"
    assert blocks(session, "what was there at 0:11?") == {0, 1}, "what came next looks otherwise"


def test_a_question_about_a_stretch_sees_nothing_else(session):
    assert blocks(session, "what was there between 0:20 and 0:50?") <= set(range(20, 51))
    assert blocks(session, "what came in the last 10 seconds?") <= set(range(79, 90))
    assert blocks(session, "what has come since 1:20?") <= set(range(80, 90))
    assert blocks(session, "what was there before 0:05?") <= set(range(6))


def test_a_stretch_of_which_nothing_is_kept_is_no_reason_to_see_nothing():
    session = open_session(tiny_video_llm("llama")[0], max_answer_tokens=5, **ENGINE)
    session.push(stream_frames(8) + stream_frames(4, start=300))
    assert {9, 10, 11} <= blocks(session, "what was there at 3:00?")
    assert blocks(session, "what was there at 0:05?") == {4, 5}


def test_times_are_not_followed_where_that_is_switched_off_or_a_range_is_given():
    off = open_session(
        tiny_video_llm("llama")[0], max_answer_tokens=5, follow_times=False, **ENGINE
    )
    off.push(stream_frames(90))
    asked = "what was there at 0:40?"
    assert {87, 88, 89} <= blocks(off, asked)
    on = open_session(tiny_video_llm("llama")[0], max_answer_tokens=5, **ENGINE)
    on.push(stream_frames(90))
    given = Question(asked, 80.0, from_s=60.0)
    assert answer_of(on, given) == answer_of(off, given)
