"""Hunt: finds the runs of blocks where a statement is true, with few judgements.

Blocks are *places*, 0 to n - 1 in stream order. The index proposes places; each is judged. From a
place where it is true, the hunt steps outwards, twice as far each time, until it no longer is, and
then halves what lies between, until the last true place and the first false one are neighbours. Two
true places belong to one run if what lies between them is known or looks the same. The hunt knows
no model: its caller asks `wanted` for places and reports by `take` how probable it is there.

Source: search, then ground (ExtremeWhenBench, arXiv 2606.12300). Differs: the grounding is the
model's own yes or no about single blocks, and no model names a time.
"""

from bisect import bisect_left, insort
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil, floor, inf
from operator import attrgetter

import numpy as np
from jaxtyping import Bool, Float, Int64

NEARLY = 0.3
"""The index excludes scores below this share of the way from the usual one to the best."""
_USUAL = 0.1
"""The share of all places that score below what is usual."""
_NO = 0.0


@dataclass(frozen=True)
class Run:
    """Places `first` to `last`, where it is true; most probably at `best`."""

    first: int
    last: int
    best: int
    probability: float
    is_whole: bool
    """It is known to be false right before and right after."""


def excluded(scores: Float[np.ndarray, " places"]) -> Bool[np.ndarray, " places"]:
    if not len(scores):
        return np.zeros(0, dtype=bool)
    usual = np.quantile(scores, _USUAL)  # low: it may be true most of the time
    below: Bool[np.ndarray, " places"] = scores < usual + NEARLY * (scores.max() - usual)
    return below


def proposals(
    scores: Float[np.ndarray, " places"],
    runs: Int64[np.ndarray, " places"],
    is_excluded: Bool[np.ndarray, " places"],
) -> list[int]:
    """Return the places that are not excluded: first the best of each run of similar ones, then the
    rest; best first.
    """
    places = np.flatnonzero(~is_excluded)
    order = places[np.argsort(-scores[places], kind="stable")]
    _, first = np.unique(runs[order], return_index=True)
    leads = np.zeros(len(order), dtype=bool)
    leads[first] = True
    return [*order[leads].tolist(), *order[~leads].tolist()]


class Hunt:
    """One statement in one stretch of one stream. It is true where it is at least as probable as
    `high`, and beside such a place also where it is at least as probable as `low`, so that runs do
    not flicker.
    """

    def __init__(
        self,
        looks: Sequence[int],
        proposed: Sequence[int],
        *,
        high: float,
        low: float,
        breaks: Sequence[int] = (),
        is_exact: bool = False,
        most: int | None = None,
    ) -> None:
        """`looks` has a number for each place, the same where neighbours look the same; `proposed`
        are the places worth a judgement, best first; at most `most` are judged.

        No run crosses a break, which lies right before its place. With `is_exact`, a run is only
        what has been judged place by place.
        """
        self._high, self._low = high, low
        self._looks = None if is_exact else looks
        self._proposed = deque(proposed)
        self._left = inf if most is None else most
        walls = [-0.5, *(one - 0.5 for one in breaks), len(looks) - 0.5]
        self.judged: dict[float, float] = dict.fromkeys(walls, _NO)
        """By place; walls, where it is never true, stand between places."""
        self._at = sorted(self.judged)
        self._open: list[float] = []
        """The left ends of the gaps between judged places that are to be asked about. Gaps of the
        run found first come first.
        """
        self._known: list[tuple[int, int]] = []
        """The whole runs, in stream order."""

    @property
    def num_judged(self) -> int:
        return sum(isinstance(place, int) for place in self.judged)

    def propose(self, place: int) -> None:
        self._proposed.append(place)

    def wanted(self, count: int) -> list[int]:
        """Return the next places to judge, at most `count`; none at the end. All must be taken."""
        count = int(min(count, self._left))
        places: dict[int, None] = {}
        for left in self._open[:count]:
            places[self._probe(left)] = None
        while len(places) < count and self._proposed:
            place = self._proposed.popleft()
            if place not in self.judged and not self._is_known(place):
                places[place] = None
        self._left -= len(places)
        return list(places)

    def take(self, judged: Mapping[int, float]) -> list[Run]:
        """Learn the probabilities at some places; return the runs that are now whole and final."""
        for place, probability in judged.items():
            insort(self._at, place)
            self.judged[place] = probability
            at = bisect_left(self._at, place)
            left, right = self._at[at - 1], self._at[at + 1]
            to = self._open.index(left) if left in self._open else len(self._open)
            halves = [
                one for one, other in ((left, place), (place, right)) if self._is_asked(one, other)
            ]
            self._open[to : to + 1] = halves
        whole: set[Run] = set()
        for place in judged:
            at = bisect_left(self._at, place)
            for one in range(at - 1, at + 2) if judged[place] < self._low else (at,):
                if self._is_so(self._at[one]) and (run := self._whole_run(one)) is not None:
                    whole.add(run)
        for run in whole:
            insort(self._known, (run.first, run.last))
        return sorted(
            (run for run in whole if run.probability >= self._high), key=attrgetter("first")
        )

    def runs(self) -> list[Run]:
        """Return all runs found, in stream order; those not whole as far as is known."""
        return [run for run in self.nearly() if run.probability >= self._high]

    def nearly(self) -> list[Run]:
        """Return them with those that are nowhere probable enough."""
        found, at = [], 0
        while at < len(self._at):
            if not self._is_so(self._at[at]):
                at += 1
                continue
            last = self._end(at, 1)
            found.append(self._run(at, last))
            at = last + 1
        return found

    def _whole_run(self, at: int) -> Run | None:
        last = self._end(at, 1)
        if self._between(last, last + 1):  # checked first: most looks end here
            return None
        first = self._end(at, -1)
        return None if self._between(first - 1, first) else self._run(first, last)

    def _run(self, first: int, last: int) -> Run:
        places = self._at[first : last + 1]
        best = max(places, key=self.judged.__getitem__)
        is_whole = not (self._between(first - 1, first) or self._between(last, last + 1))
        return Run(int(places[0]), int(places[-1]), int(best), self.judged[best], is_whole)

    def _end(self, at: int, step: int) -> int:
        """Return how far a run goes in one direction, as an index of `_at`."""
        while True:
            left, right = sorted((self._at[at], self._at[at + step]))
            if not self._is_so(self._at[at + step]) or self._is_asked(left, right):
                return at
            at += step

    def _between(self, left: int, right: int) -> int:
        return len(_inside(self._at[left], self._at[right]))

    def _is_asked(self, left: float, right: float) -> bool:
        """Whether to look between two judged places that are neighbours in `_at`."""
        are_so = self._is_so(left), self._is_so(right)
        if not (any(are_so) and _inside(left, right)):
            return False
        if self._looks is None or not all(are_so):
            return True
        return self._looks[int(left)] != self._looks[int(right)]

    def _is_so(self, place: float) -> bool:
        return self.judged[place] >= self._low

    def _is_known(self, place: int) -> bool:
        at = bisect_left(self._known, (place + 1,)) - 1
        return at >= 0 and place <= self._known[at][1]

    def _probe(self, left: float) -> int:
        """Return where to ask between two places: the middle, or less far outwards from a run."""
        at = bisect_left(self._at, left)
        inside = _inside(left, self._at[at + 1])
        middle = (len(inside) - 1) // 2
        if self._is_so(left) and self._is_so(self._at[at + 1]):
            return inside[middle]
        if self._is_so(left):
            return inside[min(middle, self._step(at, -1))]
        return inside[-1 - min(middle, self._step(at + 1, 1))]

    def _step(self, at: int, inwards: int) -> int:
        """Return twice the last step, less one; 0, for the next place, if there was none."""
        before = self._at[at + inwards]
        return round(2 * abs(self._at[at] - before)) - 1 if self._is_so(before) else 0


def _inside(left: float, right: float) -> range:
    return range(floor(left) + 1, ceil(right))
