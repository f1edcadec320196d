"""Spoken time: moments become time words, everything else stays to the letter."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from encoders.families.embedded import time_words
from encoders.spoken_time import with_time_words

moments = st.integers(0, 24 * 3600 - 1)


@pytest.mark.parametrize(
    ("typed", "wanted"),
    [
        ("what was there at 12:30?", "what was there at 0h12m30s?"),
        ("0:45: what did you see", "0h00m45s: what did you see"),
        ("who was in view at 75:10?", "who was in view at 1h15m10s?"),
        ("at 1:02:05, what was shown?", "at 1h02m05s, what was shown?"),
        ("what did you see at 2 min 5 s?", "what did you see at 0h02m05s?"),
        ("at 2 minutes 5 seconds", "at 0h02m05s"),
        ("At 2 Minutes and 5 Seconds", "at 0h02m05s"),
        ("2m5s: objects?", "0h02m05s: objects?"),
        ("2m 5s", "0h02m05s"),
        ("1 hour, 2 minutes and 5 seconds in", "1h02m05s in"),
        ("1h 2m", "1h02m00s"),
        ("what was on screen in minute 3?", "what was on screen in 0h03m00s?"),
        ("minute 3, second 20", "0h03m20s"),
        ("at second 45", "at 0h00m45s"),
        ("at 90 seconds", "at 0h01m30s"),
        ("around the 2 minute mark, what", "at 0h02m00s, what"),
        ("at the 2-minute mark.", "at 0h02m00s."),
        ("from 1:10 to 1:20", "from 0h01m10s to 0h01m20s"),
        ("at 5 minutes, 3 objects", "at 0h05m00s, 3 objects"),
        ("was it there for 1:10?", "was it there for 0h01m10s?"),
    ],
)
def test_a_typed_moment_becomes_time_words(typed, wanted):
    assert with_time_words(typed, time_words) == wanted


@pytest.mark.parametrize(
    "text",
    [
        "what happened in the last 5 seconds?",
        "what came in during the last 2 minutes?",
        "what was there 2 min 5 s ago?",
        "was it there for 3 minutes 20 seconds?",
        "10 seconds later",
        "is 16:9 the ratio?",
        "it is 3:15 pm",
        "version 1.2:30",
        "the second 2 objects",
        "within the last minute 3 objects came",
        "12:75",
        "9" * 5000 + ":10",
        "at " + "9" * 5000 + " s",
        "1:02:05:09",
        "5 minutes",
        "3 mice and 4 hats at the 2 houses",
        "what number is on the sign, 47?",
        "",
    ],
)
def test_what_is_no_moment_stays_as_it_is(text):
    assert with_time_words(text, time_words) == text


@given(moments)
def test_every_way_to_type_a_moment_gives_the_same_words(stream_s):
    hours, minutes, seconds = stream_s // 3600, stream_s // 60 % 60, stream_s % 60
    wanted = f"at {time_words(stream_s)}?"
    assert with_time_words(f"at {hours}:{minutes:02d}:{seconds:02d}?", time_words) == wanted
    assert with_time_words(f"at {stream_s // 60}:{seconds:02d}?", time_words) == wanted
    assert with_time_words(f"at {hours} h {minutes} min {seconds} s?", time_words) == wanted
    assert with_time_words(f"at {stream_s} seconds?", time_words) == wanted


@given(st.text())
def test_a_text_in_time_words_does_not_change_again(text):
    once = with_time_words(text, time_words)
    assert with_time_words(once, time_words) == once


@given(st.text(st.characters(exclude_categories=("Nd",))))
def test_a_text_without_digits_does_not_change(text):
    assert with_time_words(text, time_words) == text
