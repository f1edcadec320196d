"""clock_words: finds the ranges of clock time that a question names, given when it is asked.

`between 2 and 3 pm`, `at 14:07`, `since 9 am`, `yesterday evening`, `in the last ten minutes`, `an
hour ago`, `on 3 November at 14:00`: see `vstream.times.time_phrase`, `vstream.times.day_words` and
`vstream.times.time_of_day` for what is understood. Rules:

- Times name the past: `between 2 and 3 pm` asked at 1 pm is yesterday's, asked at half past two it
  is today's up to now. What lies wholly in the future is no time. `2:07` is in the morning.
- `at 14:07` is that minute, `five minutes ago` half a minute around it, `an hour ago` and `around
  3 pm` five minutes around. `before 9 am` is from midnight on, `before yesterday` has no start.
- A local time that exists twice, or that the clocks jump over, may be either of two moments: a
  stretch starts at the earlier one and ends at the later one.
- A question that names more than one time names none.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta

from vstream.times.day_words import day_stretch, moment_before, part_begun
from vstream.times.time_of_day import clock_of, clock_pair, following, has_seconds, preceding
from vstream.times.time_phrase import TimePhrase, end_parts, time_phrases

_AROUND = timedelta(minutes=5)
_MINUTE = timedelta(minutes=1)
_DAY = timedelta(days=1)
_Bounds = tuple[datetime | None, datetime]


@dataclass(frozen=True)
class ClockRange:
    """From `begin` to `end`, both in UTC, none after the moment of asking; None is open. `span` is
    where its words stand in the text. `is_moment`: they name one moment, and the range is what they
    leave open.
    """

    begin: datetime | None
    end: datetime
    is_moment: bool
    span: tuple[int, int]


def clock_ranges(text: str, now: datetime) -> list[ClockRange]:
    """Return all ranges that `text` names, in its order."""
    times = _NamedTimes(now)
    found = (times.range(phrase) for phrase in time_phrases(text))
    return [one for one in found if one is not None]


class _NamedTimes:
    """The moment when something is asked, in the zone where it is asked. Local times have no zone,
    and times with a zone are in UTC: two times of one zone would be compared by how they look, even
    where the clocks are turned back.
    """

    def __init__(self, now: datetime) -> None:
        assert now.tzinfo is not None, "a time of day needs a zone"
        self._zone = now.tzinfo
        self._now = now.astimezone(UTC)
        self._local = now.replace(tzinfo=None)

    def range(self, phrase: TimePhrase) -> ClockRange | None:
        """Return what the phrase names; None for the future and for what is in no calendar."""
        try:
            begin, end = getattr(self, f"_{phrase.form}")(phrase)
        except (OverflowError, ValueError):
            return None
        if (begin or end) > self._now or (begin is not None and begin > end):
            return None
        is_moment = phrase.form in ("clock", "iso", "ago") and phrase.is_about
        return ClockRange(begin, min(end, self._now), is_moment, phrase.span)

    def _between(self, phrase: TimePhrase) -> _Bounds:
        first, last = end_parts(phrase["first"]), end_parts(phrase["last"])
        if "clock" in first:
            first = {"day": phrase["day"], **first}
        from_clock, to_clock = clock_pair(first.get("clock"), last.get("clock"))
        begin, end = self._edges(first, from_clock), self._edges(last, to_clock)
        if begin is None:  # a time of day without a day: as late as it can be
            at = datetime.combine(self._local.date(), from_clock)
            if end is not None:
                at = preceding(from_clock, self._wall(end[1]))
            elif self._earlier(at) > self._now:
                at -= _DAY
            begin = at, at
        if end is None:
            at = following(to_clock, self._wall(begin[0]) + timedelta(microseconds=1))
            end = at, at
        return self._earlier(begin[0]), self._later(end[1])

    def _edges(self, end: dict[str, str], clock: time) -> tuple[datetime, datetime] | None:
        """Return an end of a range; None for a time of day without a day."""
        if "iso" in end:
            at = datetime.fromisoformat(end["iso"].upper())
            return at, at
        if "whole_day" in end:
            day = day_stretch(end["whole_day"], self._local)
            return day.begin, day.end
        words = end.get("day") or end.get("its_day")
        if not words:
            return None
        at = following(clock, day_stretch(words, self._local).clocks_from)
        return at, at

    def _clock(self, phrase: TimePhrase) -> _Bounds:
        clock = clock_of(phrase["clock"])
        exact = timedelta(0) if has_seconds(phrase["clock"]) else _MINUTE
        if phrase.day:
            day = day_stretch(phrase.day, self._local)
            at = following(clock, day.clocks_from)
            return self._meant(phrase, at, at, exact=exact, until=day.end)
        at = datetime.combine(self._local.date(), clock)
        bounds = self._meant(phrase, at, at, exact=exact)
        if bounds[0] is not None and bounds[0] > self._now:
            at -= _DAY
            return self._meant(phrase, at, at, exact=exact)
        return bounds

    def _iso(self, phrase: TimePhrase) -> _Bounds:
        at = datetime.fromisoformat(phrase["iso"].upper())
        exact = timedelta(0) if phrase["iso"][16:17] == ":" else _MINUTE
        return self._meant(phrase, at, at, exact=exact)

    def _ago(self, phrase: TimePhrase) -> _Bounds:
        at, length = moment_before(phrase["length"], self._now), phrase["length"].lower()
        slack = timedelta(0) if "sec" in length else _MINUTE / 2 if "min" in length else _AROUND
        if phrase.is_about:
            return at - slack, at + slack
        return self._meant(phrase, at, at)

    def _last(self, phrase: TimePhrase) -> _Bounds:
        return moment_before(phrase["length"], self._now), self._now

    def _day(self, phrase: TimePhrase) -> _Bounds:
        day = day_stretch(phrase["day"], self._local)
        return self._meant(phrase, day.begin, day.end)

    def _part(self, phrase: TimePhrase) -> _Bounds:
        part = part_begun(phrase["part"], self._local)
        return self._earlier(part.begin), self._later(part.end)

    def _meant(
        self,
        phrase: TimePhrase,
        begin: datetime,
        end: datetime,
        *,
        exact: timedelta = timedelta(0),
        until: datetime | None = None,
    ) -> _Bounds:
        """Apply the word before a time. A time of day is exact to `exact`; `until` is the end of
        the day that was named with it.
        """
        word = (phrase["near"] or phrase["since"] or phrase["until"]).lower()
        if phrase["near"]:
            return self._earlier(begin) - _AROUND, self._later(end) + _AROUND
        if phrase["since"]:
            open_end = self._later(until) if until and word == "after" else self._now
            return self._earlier(end if word == "after" else begin), open_end
        if phrase["until"]:
            stop = self._later(begin if word in ("before", "by", "more than", "over") else end)
            if phrase.form != "clock":
                return None, stop
            eve = begin - timedelta(microseconds=1)  # before midnight is the day that ends then
            return self._earlier(datetime.combine(eve.date(), time())), stop
        return self._earlier(begin), self._later(end) + exact

    def _earlier(self, at: datetime) -> datetime:
        """Return a local time in UTC, the earlier of those that it may be."""
        return min(self._instants(at))

    def _later(self, at: datetime) -> datetime:
        return max(self._instants(at))

    def _instants(self, at: datetime) -> list[datetime]:
        if at.tzinfo is not None:
            return [at.astimezone(UTC)]
        return [at.replace(tzinfo=self._zone, fold=fold).astimezone(UTC) for fold in (0, 1)]

    def _wall(self, at: datetime) -> datetime:
        return at if at.tzinfo is None else at.astimezone(self._zone).replace(tzinfo=None)
