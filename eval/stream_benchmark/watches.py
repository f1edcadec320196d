"""Watches: standing questions on streams, how soon they fired and how often for nothing.

Each second of a part of the stream is judged on memory and newest frames, as the product does it
while the stream plays. An onset is told if the watch fires at it or within `IN_TIME_S`. A firing
is a false alarm if the object is not in view and did not come into view within `IN_TIME_S` before;
one that comes late, with the object still in view, is neither. Every object is watched for in two
wordings, as a request to be told and as a yes/no question.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from random import Random

from eval.play.contender import DEFAULT
from eval.stream_benchmark.exam import ExamStream, parts
from eval.stream_world import Script
from eval.stream_world.standing import StandingQuestion, draw_standing
from eval.stream_world.wording import word_question

WATCHED = DEFAULT
"""The contender under which they are watched."""
NUM_WATCHED = 12
"""Objects in a whole run."""
NUM_WATCHES = 2 * NUM_WATCHED
WATCHED_S = 300
IN_TIME_S = 5


@dataclass(frozen=True)
class WatchOutcome:
    """One standing question, watched for `watched_s`. Onsets that have no time left are not in."""

    watched_s: int
    onsets_s: tuple[int, ...]
    fired_s: tuple[int, ...]
    num_false_alarms: int

    @property
    def num_told(self) -> int:
        """Onsets that were told in time."""
        return sum(any(0 <= f - s <= IN_TIME_S for f in self.fired_s) for s in self.onsets_s)


@dataclass(frozen=True)
class WatchFigures:
    """Over all watches of a policy; `fired_within_5s` in percent, None without onsets."""

    fired_within_5s: float | None
    false_alarms_per_hour: float | None
    num_watches: int
    num_onsets: int

    @classmethod
    def of(cls, records: Sequence[WatchOutcome]) -> "WatchFigures":
        onsets = sum(len(record.onsets_s) for record in records)
        hours = sum(record.watched_s for record in records) / 3600
        return cls(
            100 * sum(record.num_told for record in records) / onsets if onsets else None,
            sum(record.num_false_alarms for record in records) / hours if hours else None,
            len(records),
            onsets,
        )

    def document(self) -> dict[str, object]:
        return {name.removeprefix("num_"): figure for name, figure in asdict(self).items()}


def standing_questions(streams: Sequence[ExamStream]) -> dict[str, list[StandingQuestion]]:
    """By stream, `NUM_WATCHES` over all ordinary ones; the same for every policy.

    Each object's two wordings are asked at the same moment.
    """
    standing: dict[str, list[StandingQuestion]] = {stream.name: [] for stream in streams}
    ordinary = [stream for stream in streams if stream.style == "seen"]
    for stream, num in zip(ordinary, parts(NUM_WATCHED, len(ordinary)), strict=True):
        rng = Random(f"{stream.script.seed} standing")
        requests = draw_standing(stream.script, num, rng, watched_s=WATCHED_S)
        standing[stream.name] = [
            *requests,
            *(replace(one, text=word_question("exist", rng, name=one.name)) for one in requests),
        ]
    return standing


def watched_until(stream: ExamStream, standing: StandingQuestion) -> int:
    """The second before which it is judged for the last time."""
    return min(standing.asked_s + WATCHED_S, stream.length_s)


def watch_record(
    stream: ExamStream, standing: StandingQuestion, fired_s: Sequence[float]
) -> WatchOutcome:
    """Of a standing question that was judged at every second from when it was put."""
    end_s = watched_until(stream, standing)
    seconds = tuple(map(int, fired_s))
    return WatchOutcome(
        watched_s=end_s - standing.asked_s,
        onsets_s=tuple(s for s in standing.onsets_s if s + IN_TIME_S < end_s),
        fired_s=seconds,
        num_false_alarms=sum(is_false_alarm(stream.script, standing, s) for s in seconds),
    )


def is_false_alarm(script: Script, standing: StandingQuestion, fired_s: int) -> bool:
    """Whether a firing has nothing to tell of."""
    is_in_view = script.moments[fired_s].find(standing.name) is not None
    return not is_in_view and not any(0 <= fired_s - s <= IN_TIME_S for s in standing.onsets_s)
