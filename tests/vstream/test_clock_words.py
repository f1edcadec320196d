"""What range of clock time a question's words name, and which words name none."""

from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vstream.times.clock_words import clock_ranges

PRAGUE = ZoneInfo("Europe/Prague")
NOW = datetime(2026, 11, 25, 14, 30, tzinfo=PRAGUE)
"""A Wednesday."""
ZONES = ["Europe/Prague", "America/New_York", "Asia/Kathmandu", "Australia/Lord_Howe", "UTC"]


def clock_range(text, now):
    """The one range that is named; None if none is, or several are."""
    found = clock_ranges(text, now)
    return found[0] if len(found) == 1 else None


def local(text, zone=PRAGUE):
    """`25 14:30:05`, in November 2026, or with `YYYY-MM-` before it, as a moment."""
    text = text if "-" in text else f"2026-11-{text}"
    return datetime.fromisoformat(text).replace(tzinfo=zone)


@pytest.mark.parametrize(
    ("text", "begin", "end"),
    [
        # between two times of day
        ("what was there between 2 and 3 pm?", "25 14:00", "25 14:30"),
        ("between 1 and 2 pm", "25 13:00", "25 14:00"),
        ("between 3 and 4 pm", "24 15:00", "24 16:00"),
        ("between 14:00 and 15:30", "25 14:00", "25 14:30"),
        ("who came between 9:15 and 10:45?", "25 09:15", "25 10:45"),
        ("from 1pm to 2pm who came?", "25 13:00", "25 14:00"),
        ("From 9 am to noon", "25 09:00", "25 12:00"),
        ("from noon to 2", "25 12:00", "25 14:00"),
        ("from 9 am to 5", "25 09:00", "25 14:30"),
        ("between 11 and 1 pm", "25 11:00", "25 13:00"),
        ("between 12 and 1 pm", "25 12:00", "25 13:00"),
        ("between 12:30 and 1:30 a.m.", "25 00:30", "25 01:30"),
        ("from 1-2 pm", "25 13:00", "25 14:00"),
        ("between 10 pm and 2 am", "24 22:00", "25 02:00"),
        ("from 22:00 until 02:00", "24 22:00", "25 02:00"),
        ("between 11 pm and midnight", "24 23:00", "25 00:00"),
        ("between 14:00:05 and 14:00:10", "25 14:00:05", "25 14:00:10"),
        # on a day
        ("yesterday between 2 and 3 pm", "24 14:00", "24 15:00"),
        ("yesterday, between 2 and 3 pm, who came?", "24 14:00", "24 15:00"),
        ("yesterday 14:00\N{EN DASH}15:30", "24 14:00", "24 15:30"),
        ("who came to the door yesterday between 9 and 10 am?", "24 09:00", "24 10:00"),
        ("who came yesterday to the door between 2 and 3 pm?", "24 14:00", "24 15:00"),
        ("between 2 and 3 pm on Monday", "23 14:00", "23 15:00"),
        ("from 10 pm yesterday to 2 am today", "24 22:00", "25 02:00"),
        ("from yesterday at 10 pm to 2 am", "24 22:00", "25 02:00"),
        ("last night between 11 pm and 2 am", "24 23:00", "25 02:00"),
        ("between 2 and 3 pm on 3 November", "03 14:00", "03 15:00"),
        # moments
        ("at 14:07", "25 14:07", "25 14:08"),
        ("at 2:07 pm, what was there?", "25 14:07", "25 14:08"),
        ("at 14:07:30", "25 14:07:30", "25 14:07:30"),
        ("at 3.30 p.m.", "24 15:30", "24 15:31"),
        ("at noon", "25 12:00", "25 12:01"),
        ("at 2:07 pm yesterday", "24 14:07", "24 14:08"),
        ("yesterday at noon", "24 12:00", "24 12:01"),
        ("last night at 2:30", "25 02:30", "25 02:31"),
        ("on Monday at 14:00", "23 14:00", "23 14:01"),
        ("on 3 November at 14:00", "03 14:00", "03 14:01"),
        ("on November 3rd, 2025, at 2 pm", "2025-11-03 14:00", "2025-11-03 14:01"),
        ("on 2026-11-03 at 14:00", "03 14:00", "03 14:01"),
        ("two days ago at 3 pm", "23 15:00", "23 15:01"),
        ("2026-11-03T14:00:00+01:00", "03 14:00", "03 14:00"),
        ("at 2026-11-03T13:00Z what was there?", "03 14:00", "03 14:01"),
        ("around 2 pm", "25 13:55", "25 14:05"),
        ("at about 3 pm", "24 14:55", "24 15:05"),
        ("five minutes ago", "25 14:24:30", "25 14:25:30"),
        ("who was here an hour ago?", "25 13:25", "25 13:35"),
        ("half an hour ago", "25 13:55", "25 14:05"),
        ("1 hour and 20 minutes ago", "25 13:09:30", "25 13:10:30"),
        ("90 seconds ago", "25 14:28:30", "25 14:28:30"),
        # stretches up to now
        ("in the last ten minutes", "25 14:20", "25 14:30"),
        ("in the past hour", "25 13:30", "25 14:30"),
        ("who came during the last 2 hours?", "25 12:30", "25 14:30"),
        ("within the last few minutes", "25 14:25", "25 14:30"),
        ("over the past two days", "23 14:30", "25 14:30"),
        ("in the last week", "18 14:30", "25 14:30"),
        ("since 9 am", "25 09:00", "25 14:30"),
        ("since 15:00", "24 15:00", "25 14:30"),
        ("after 9 am", "25 09:00", "25 14:30"),
        ("since yesterday", "24 00:00", "25 14:30"),
        ("since Monday", "23 00:00", "25 14:30"),
        ("less than an hour ago", "25 13:30", "25 14:30"),
        # before and after
        ("before noon", "25 00:00", "25 12:00"),
        ("by 2 pm", "25 00:00", "25 14:00"),
        ("until 9:30", "25 00:00", "25 09:30"),
        ("before midnight", "24 00:00", "25 00:00"),
        ("before 2 pm yesterday", "24 00:00", "24 14:00"),
        ("yesterday after 2 pm", "24 14:00", "25 00:00"),
        ("before yesterday", None, "24 00:00"),
        ("more than an hour ago", None, "25 13:30"),
        # days and parts of them
        ("today", "25 00:00", "25 14:30"),
        ("what happened yesterday?", "24 00:00", "25 00:00"),
        ("yesterday evening", "24 18:00", "24 23:00"),
        ("yesterday in the afternoon", "24 12:00", "24 18:00"),
        ("this morning", "25 06:00", "25 12:00"),
        ("this afternoon", "25 12:00", "25 14:30"),
        ("last night", "24 23:00", "25 06:00"),
        ("overnight", "24 23:00", "25 06:00"),
        ("what happened in the morning?", "25 06:00", "25 12:00"),
        ("what happened in the evening?", "24 18:00", "24 23:00"),
        ("the day before yesterday", "23 00:00", "24 00:00"),
        ("on Monday", "23 00:00", "24 00:00"),
        ("on Monday morning", "23 06:00", "23 12:00"),
        ("last Wednesday", "18 00:00", "19 00:00"),
        ("on the 3rd of November", "03 00:00", "04 00:00"),
        ("on May 3", "2026-05-03 00:00", "2026-05-04 00:00"),
        ("on 29 February", "2024-02-29 00:00", "2024-03-01 00:00"),
        ("two days ago", "23 00:00", "24 00:00"),
        ("between Monday and Tuesday", "23 00:00", "25 00:00"),
        ("this week", "23 00:00", "25 14:30"),
        ("last week", "16 00:00", "23 00:00"),
        ("last month", "2026-10-01 00:00", "01 00:00"),
    ],
)
def test_words_name_a_range(text, begin, end):
    found = clock_range(text, NOW)
    assert found is not None
    assert found.begin == (None if begin is None else local(begin))
    assert found.end == local(end)


@pytest.mark.parametrize(
    "text",
    [
        "how many people were there",
        "is there a sign with 12 on it",
        "did 3 cars pass",
        "what does the sign 24/7 say",
        "is the score 2 to 3",
        "is the score between 2 and 3",
        "did it go from 1 to 10",
        "are there between 5 and 10 people?",
        "may I park here",
        "did the second dog come",
        "is there a sun",
        "is there a Monday sign",
        "what happened in march madness",
        "after lunch",
        "before the dog came",
        "since when is it there?",
        "what do you see now?",
        "when did the man come?",
        "when was the last time you saw a dog?",
        "how many of the last 3 visitors were dogs?",
        "did he come at the last minute?",
        "is it the last day of the sale?",
        "does the sign say 2 pm?",
        "does the clock show 14:07?",
        "is it 3 pm?",
        "the 2 cars from 3 places",
        "is the man from room 12 there?",
        "at 5 places",
        "at night are there more cars?",
        "is the man in the morning coat there?",
        "is today's menu on the table?",
        "what is on yesterday's paper?",
        "a video of five minutes",
        "how many minutes has he been there?",
        "the hour hand of the clock",
        "what was the second to last thing?",
        "which of the two came first?",
        "is route 66 open",
        "at 25:10",
        "at 13 pm",
        "at 14:75",
        "did it change from 10% to 20%?",
        "how far is it to 10.5?",
        "from 2.5 to 3.5",
        "on 31 June",
        "on the table",
        "by the window",
        "around the corner",
        "about 3 people",
        "over 20 cars",
        "is 2026-11-03 on the label?",
        "does he run past 2 shops?",
        "april came in with a dog",
        "is there an autumn day in the picture?",
        "one day he will come",
        "",
    ],
)
def test_words_that_name_no_time(text):
    assert clock_ranges(text, NOW) == []


@pytest.mark.parametrize(
    "text",
    [
        "today at 5 pm",
        "this evening",
        "tonight",
        "between 3 and 4 pm today",
        "on 3 December 2026",
        "2026-11-25T14:30:01+01:00",
        "tomorrow",
        "in ten minutes",
        "in the next hour",
        "next Monday",
    ],
)
def test_what_is_to_come_is_in_nobody_s_memory(text):
    assert clock_range(text, NOW) is None


def test_times_are_the_latest_that_have_begun():
    def begins(text, hour, minute=0):
        now = NOW.replace(hour=hour, minute=minute)
        return clock_range(text, now).begin.astimezone(PRAGUE).strftime("%d %H:%M")

    assert begins("between 2 and 3 pm", 13) == "24 14:00"
    assert begins("between 2 and 3 pm", 14) == "25 14:00"
    assert begins("between 10 pm and 2 am", 23) == "25 22:00"
    assert begins("between 10 pm and 2 am", 1) == "24 22:00"
    assert begins("last night", 1) == "24 23:00"
    assert begins("last night", 23, 30) == "24 23:00"
    assert begins("tonight", 20) == "25 18:00"
    assert begins("tonight", 1) == "24 18:00"
    assert begins("this evening", 0, 30) == "24 18:00"
    assert begins("today", 0) == "25 00:00"
    assert begins("on Wednesday", 12) == "18 00:00", "who means today says so"


def test_a_range_is_open_at_neither_end_after_the_moment_of_asking():
    assert clock_range("between 2 and 3 pm", NOW).end == NOW
    assert clock_range("at 14:30", NOW).end == NOW


def test_a_moment_is_told_from_a_stretch():
    moments = ["at 14:07", "an hour ago", "yesterday at noon", "2026-11-03T14:00:00+01:00"]
    assert all(clock_range(text, NOW).is_moment for text in moments)
    stretches = ["since 14:07", "around 2 pm", "today", "before 9 am", "between 1 and 2 pm"]
    assert not any(clock_range(text, NOW).is_moment for text in stretches)


@pytest.mark.parametrize(
    ("text", "phrase"),
    [
        ("Who came between 2 and 3 pm, and why?", "between 2 and 3 pm"),
        ("yesterday at noon, what was there?", "yesterday at noon"),
        ("at 2 p.m. who came?", "at 2 p.m."),
        ("did a dog come in the last ten minutes?", "in the last ten minutes"),
        ("at 2 pm - who was there?", "at 2 pm"),
    ],
)
def test_the_place_of_the_phrase_is_told(text, phrase):
    begin, end = clock_range(text, NOW).span
    assert text[begin:end] == phrase


def test_a_question_about_two_times_names_no_one_range():
    text = "was it there at 1:00 or at 2:00?"
    assert clock_range(text, NOW) is None
    assert [found.begin for found in clock_ranges(text, NOW)] == [
        local("25 01:00"),
        local("25 02:00"),
    ]


WORDS = (
    "at between and from to since before after around until on in the last this past ago yesterday "
    "today tonight monday morning night evening noon midnight week month november may two ten a an "
    "half few minutes hours days 2 3 12 14:07 2:30 25:61 2pm pm a.m. 31 1999 2026-11-03 999999 , - "
    "2026-03-29T02:30 9999-12-31T23:59:59Z 0001-01-01T00:00Z 's of"
)
SENTENCES = st.lists(st.sampled_from(WORDS.split()), max_size=9).map(" ".join)
MOMENTS = st.datetimes(datetime(1971, 1, 2), datetime(2099, 1, 1), timezones=st.just(UTC))


@given(st.text(max_size=80) | SENTENCES, MOMENTS, st.sampled_from(ZONES))
def test_whatever_is_typed_ranges_lie_in_the_past(text, moment, zone):
    now = moment.astimezone(ZoneInfo(zone))
    for found in clock_ranges(text, now):
        assert found.end <= now.astimezone(UTC)
        assert found.begin is None or found.begin <= found.end
        assert 0 <= found.span[0] < found.span[1] <= len(text)


@given(MOMENTS, st.integers(-3000, -1), st.integers(0, 3000), st.sampled_from(ZONES))
def test_instants_with_their_offset_mean_the_same_everywhere(now, first, last, zone):
    begin = now.replace(microsecond=0) + timedelta(minutes=first)
    end = begin + timedelta(minutes=last)
    offset = timezone(timedelta(hours=5, minutes=30))
    text = f"between {begin.astimezone(offset).isoformat()} and {end.isoformat()} who came?"
    found = clock_range(text, now.astimezone(ZoneInfo(zone)))
    assert (found.begin, found.end) == (begin, min(end, now))


@given(MOMENTS, st.integers(1, 900), st.sampled_from(ZONES))
def test_lengths_are_those_of_time_that_passes(now, minutes, zone):
    found = clock_range(f"in the last {minutes} minutes", now.astimezone(ZoneInfo(zone)))
    assert found.begin == now - timedelta(minutes=minutes)


@given(MOMENTS, st.sampled_from(["between 2:15 and 2:45", "at 2:30", "since 1 am", "before noon"]))
def test_a_zone_only_shifts_a_clock_that_is_never_put_forward(now, text):
    utc = clock_range(text, now)
    shifted = timezone(timedelta(hours=7))
    there = clock_range(text, (now - timedelta(hours=7)).astimezone(shifted))
    assert utc.begin - there.begin == utc.end - there.end == timedelta(hours=7)


SPRING = datetime(2026, 3, 29, 12, tzinfo=PRAGUE)
AUTUMN = datetime(2026, 10, 25, 12, tzinfo=PRAGUE)


def bounds(text, now):
    found = clock_range(text, now)
    return found.begin.strftime("%d %H:%M"), found.end.strftime("%d %H:%M")


def test_a_time_that_exists_twice_may_be_either():
    assert bounds("between 2:15 and 2:45", AUTUMN) == ("25 00:15", "25 01:45")
    assert bounds("at 2:30", AUTUMN) == ("25 00:30", "25 01:31")
    assert bounds("since 2:30", AUTUMN) == ("25 00:30", "25 11:00")
    assert bounds("between 1:00 and 4:00", AUTUMN) == ("24 23:00", "25 03:00")
    in_between = datetime(2026, 10, 25, 2, 30, tzinfo=PRAGUE, fold=1)
    assert bounds("between 2:15 and 2:45", in_between) == ("25 00:15", "25 01:30")
    assert bounds("in the last hour", in_between) == ("25 00:30", "25 01:30")


def test_a_time_that_clocks_jump_over_may_be_on_either_side():
    assert bounds("between 2:15 and 2:45", SPRING) == ("29 00:15", "29 01:45")
    assert bounds("between 1:30 and 3:30", SPRING) == ("29 00:30", "29 01:30")
    assert bounds("in the last 12 hours", SPRING) == ("28 22:00", "29 10:00")


def test_days_of_23_and_25_hours_are_whole():
    assert bounds("today", SPRING) == ("28 23:00", "29 10:00")
    assert bounds("yesterday", SPRING + timedelta(days=1)) == ("28 23:00", "29 22:00")
    assert bounds("yesterday", AUTUMN + timedelta(days=1)) == ("24 22:00", "25 23:00")
    assert bounds("last night", AUTUMN) == ("24 21:00", "25 05:00")
