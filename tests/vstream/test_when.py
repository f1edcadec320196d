"""Moments as programs write them."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vstream.errors import QuestionError
from vstream.times.when import parse_when

NOW = datetime(2026, 11, 25, 14, 30, tzinfo=ZoneInfo("Europe/Prague"))


@pytest.mark.parametrize(
    ("text", "before_now"),
    [
        ("now", timedelta(0)),
        ("-10m", timedelta(minutes=10)),
        ("-1h30m", timedelta(minutes=90)),
        ("-90s", timedelta(seconds=90)),
        ("-2d", timedelta(days=2)),
        ("10 minutes ago", timedelta(minutes=10)),
        ("an hour ago", timedelta(hours=1)),
        ("2 days ago", timedelta(days=2)),
        (" 2026-11-25T13:00:00Z ", timedelta(minutes=30)),
        ("2026-11-25T14:00:00+01:00", timedelta(minutes=30)),
        ("2026-11-25T14:00", timedelta(minutes=30)),
        ("8:00", timedelta(hours=6, minutes=30)),
        ("14:30:00", timedelta(0)),
        ("23:15", timedelta(hours=15, minutes=15)),
    ],
)
def test_moments_are_relative_or_absolute(text, before_now):
    assert parse_when(text, NOW) == NOW - before_now


def test_no_words_are_no_moment():
    assert parse_when(None, NOW) is None
    assert parse_when(" ", NOW) is None


@given(st.datetimes(datetime(1971, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)))
def test_a_moment_is_the_same_in_seconds_and_in_words(moment):
    moment = moment.replace(microsecond=0)
    assert parse_when(str(int(moment.timestamp())), NOW) == moment
    assert parse_when(moment.astimezone(NOW.tzinfo).isoformat(), NOW) == moment


@pytest.mark.parametrize(
    "text",
    ["tomorrow", "10m", "-10x", "2026-11-03", "25:30", "nan", "1e9", "99999999999999", "-999999d"],
)
def test_nonsense_is_refused_with_what_is_allowed(text):
    with pytest.raises(QuestionError, match="RFC 3339") as told:
        parse_when(text, NOW)
    assert text in str(told.value)


@given(st.text(max_size=40))
def test_whatever_is_typed_is_a_moment_or_refused(text):
    try:
        found = parse_when(text, NOW)
    except QuestionError:
        return
    assert found is None or found.tzinfo is UTC
