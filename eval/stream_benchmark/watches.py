"""Watches: standing questions on streams, how soon they fired and how often falsely.

Each second of part of the stream is judged on memory and newest frames, as in the product while a
stream plays. An onset is caught if the watch fires at it or within `IN_TIME_S`. A firing is a false
alarm if the object is not in view and did not come into view within `IN_TIME_S` before; a late one,
with the object still in view, is not false. Every object is watched for in two wordings, as a
request for an alert and as a yes/no question. An exam about time watches for rare statements during
the whole first and the whole last hour of a stream.
"""

import statistics
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from random import Random

from eval.play.contender import DEFAULT
from eval.play.kept import HOUR_S
from eval.stream_benchmark.exam import ExamStream, parts
from eval.stream_world import Script
from eval.stream_world.standing import StandingQuestion, draw_rare, draw_standing
from eval.stream_world.statement import SpanIndex
from eval.stream_world.wording import word_question

WATCHED = DEFAULT
NUM_WATCHED = 12
"""Objects per run."""
NUM_WATCHES = 2 * NUM_WATCHED
WATCHED_S = 300
IN_TIME_S = 5


@dataclass(frozen=True)
class WatchOutcome:
    """Omits onsets without time left. `hour` counts from 1; None if it is not a whole one."""

    watched_s: int
    onsets_s: tuple[int, ...]
    fired_s: tuple[int, ...]
    num_false_alarms: int
    hour: int | None = None

    @property
    def delays_s(self) -> list[int]:
        """From each onset caught in time to its first firing."""
        delays = ([f - s for f in self.fired_s if 0 <= f - s <= IN_TIME_S] for s in self.onsets_s)
        return [min(several) for several in delays if several]

    @property
    def num_told(self) -> int:
        return len(self.delays_s)


@dataclass(frozen=True)
class WatchFigures:
    """In percent; None without onsets, or without firings. `fired_within_5s` is the recall,
    `precision` the share of firings that are no false alarms, `delay_s` the median delay of onsets
    caught in time.
    """

    fired_within_5s: float | None
    false_alarms_per_hour: float | None
    num_watches: int
    num_onsets: int
    precision: float | None = None
    f1: float | None = None
    delay_s: float | None = None
    by_hour: Mapping[int, "WatchFigures"] = field(default_factory=dict)

    @classmethod
    def of(cls, records: Sequence[WatchOutcome]) -> "WatchFigures":
        onsets = sum(len(record.onsets_s) for record in records)
        seconds = sum(record.watched_s for record in records)
        fired = sum(len(record.fired_s) for record in records)
        false = sum(record.num_false_alarms for record in records)
        delays_s = [delay_s for record in records for delay_s in record.delays_s]
        told = sum(record.num_told for record in records)
        recall = 100 * told / onsets if onsets else None
        precision = 100 * (fired - false) / fired if fired else None
        both = () if precision is None or recall is None else (precision, recall)
        f1 = statistics.harmonic_mean(both) if both else None
        by_hour: defaultdict[int, list[WatchOutcome]] = defaultdict(list)
        for record in records:
            if record.hour is not None:
                by_hour[record.hour].append(replace(record, hour=None))
        return cls(
            fired_within_5s=recall,
            false_alarms_per_hour=3600 * false / seconds if seconds else None,
            num_watches=len(records),
            num_onsets=onsets,
            precision=precision,
            f1=f1,
            delay_s=statistics.median(delays_s) if delays_s else None,
            by_hour={hour: cls.of(several) for hour, several in sorted(by_hour.items())},
        )

    def document(self) -> dict[str, object]:
        own = {name.removeprefix("num_"): figure for name, figure in vars(self).items()}
        return own | {"by_hour": {str(h): of.document() for h, of in self.by_hour.items()}}


def standing_questions(streams: Sequence[ExamStream]) -> dict[str, list[StandingQuestion]]:
    """Return questions by stream, `NUM_WATCHES` over ordinary ones; each object in two wordings."""
    standing: dict[str, list[StandingQuestion]] = {stream.name: [] for stream in streams}
    ordinary = [stream for stream in streams if stream.style == "seen"]
    for stream, num in zip(ordinary, parts(NUM_WATCHED, len(ordinary)), strict=True):
        rng = Random(f"{stream.script.seed} standing")
        requests = draw_standing(stream.script, num, rng, watched_s=WATCHED_S)
        standing[stream.name] = [*requests, *_as_questions(requests, rng)]
    return standing


def rare_questions(streams: Sequence[ExamStream]) -> dict[str, list[StandingQuestion]]:
    """Return questions by stream: in all, `NUM_WATCHES` in the first hour, as many in the last."""
    standing: dict[str, list[StandingQuestion]] = {}
    for stream, num in zip(streams, parts(NUM_WATCHED, len(streams)), strict=True):
        rng, index = Random(f"{stream.script.seed} rare"), SpanIndex(stream.script)
        starts = sorted({0, max(0, stream.length_s // HOUR_S - 1) * HOUR_S})
        requests = [
            one
            for start in starts
            for one in draw_rare(
                index, num, rng, range(start, min(start + HOUR_S, stream.length_s))
            )
        ]
        standing[stream.name] = [*requests, *_as_questions(requests, rng)]
    return standing


def _as_questions(requests: Sequence[StandingQuestion], rng: Random) -> Iterator[StandingQuestion]:
    for one in requests:
        yield replace(one, text=word_question("exist", rng, name=one.awaited.words))


def watched_until(stream: ExamStream, standing: StandingQuestion) -> int:
    """Return the second before which it is judged for the last time."""
    return min(standing.until_s or standing.asked_s + WATCHED_S, stream.length_s)


def watch_record(
    stream: ExamStream, standing: StandingQuestion, fired_s: Sequence[float]
) -> WatchOutcome:
    """Record a standing question that was judged at every second from when it was put."""
    end_s = watched_until(stream, standing)
    seconds = tuple(map(int, fired_s))
    return WatchOutcome(
        watched_s=end_s - standing.asked_s,
        onsets_s=tuple(s for s in standing.onsets_s if s + IN_TIME_S < end_s),
        fired_s=seconds,
        num_false_alarms=sum(is_false_alarm(stream.script, standing, s) for s in seconds),
        hour=standing.asked_s // HOUR_S + 1 if standing.until_s else None,
    )


def is_false_alarm(script: Script, standing: StandingQuestion, fired_s: int) -> bool:
    is_so = standing.awaited.holds(script.moments[fired_s])
    return not is_so and not any(0 <= fired_s - s <= IN_TIME_S for s in standing.onsets_s)
