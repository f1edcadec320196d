"""Recap: tells what came and went in stretches of several streams, in time order.

A stream's stretch is cut into runs of similar blocks, and the model says once for each run what it
shows, in half of the time. Each part of that is a statement, which is then hunted for from where it
was said: what the model does not confirm by its yes is dropped, and the hunt finds when it began
and ended (`vstream.search.hunt`). What was true all the time is left out.

Descriptions wait behind everything else that the device has to do. They are not kept; judgements
are, as in `vstream.search.finding`.
"""

import re
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import CancelledError
from dataclasses import dataclass
from itertools import islice
from typing import Any, Protocol
from zoneinfo import ZoneInfo

import numpy as np

from encoders.recommended import Recommended
from memory import KVMemoryError
from memory.policy_hooks import Wish
from vstream.device.asker import Asker
from vstream.device.scheduler import MAX_PREFILLS
from vstream.device.work import Job
from vstream.errors import QuestionError
from vstream.search.finding import Effort
from vstream.search.hunt import Run
from vstream.search.hunter import (
    AT_ONCE,
    Findable,
    FoundSpan,
    Hunter,
    Hunting,
    judge_some,
    stretch_of,
)
from vstream.search.stretch_blocks import SAME, Bounds, Covered, StretchBlocks
from vstream.times.zone import recap_title

EFFORTS = {
    "quick": Effort(50, 1_000, 10_000),
    "default": Effort(500, 10_000, 300_000),
    "thorough": Effort(None, None, 3_600_000),
}
"""Runs described and blocks judged for each stream, and milliseconds for all."""
_MOST_SAID = 8
"""How many parts of one description are used."""
_MOST_LETTERS = 200
_BULLET = re.compile(r"^(?:[-*\N{BULLET}]|\d+[.)])\s+")
_NOTHING = re.compile(r"(?:nothing|none|no)\b", re.IGNORECASE)


class Describable(Findable, Protocol):
    """A Findable that the model can be asked to describe as well."""

    def begin_describing(self, wish: Wish, asker: Asker | None = None) -> Job[str]: ...


@dataclass(frozen=True, kw_only=True)
class RecapEntry(FoundSpan):
    """A span in which something that the model said is true."""

    sentence: str
    came: bool
    left: bool
    """What was there when the stretch, or a part of it, began did not come; what was still there
    when it ended did not leave.
    """


class Recap(Hunting):
    """Iterate it for the entries of all streams, each once it is final; the other fields are
    complete once iteration has ended. Close the iterator, or let the asker leave, to stop it within
    a round.
    """

    def __init__(
        self,
        streams: Mapping[str, Describable],
        *,
        within: Mapping[str, Bounds] | None = None,
        effort: Effort = EFFORTS["default"],
        layers: Sequence[int] | None = None,
        asker: Asker | None = None,
    ) -> None:
        """Like Finding; the proposals of `effort` are the runs to describe."""
        super().__init__()
        self.entries: list[RecapEntry] = []
        """All entries, in time order."""
        self.coverage: dict[str, list[Covered]] = {}
        """For each stream, the parts of its stretch; what was described is `judged`."""
        self.dropped = self.unchecked = 0
        """Sentences that were not confirmed, and those that no judgement was left for."""
        self.seconds = 0.0
        self.between: tuple[float | None, float | None] = None, None
        """When the first stretch begins and the last one ends, in seconds since the epoch."""
        self._streams, self._within, self._effort = streams, within or {}, effort
        self._layers, self._asker = layers, asker
        self._tellers: list[_Teller] = []

    @property
    def described(self) -> int:
        """Runs described so far."""
        return sum(teller.described for teller in self._tellers)

    def __iter__(self) -> Iterator[RecapEntry]:
        began = time.perf_counter()
        for name, found in self._streams.items():
            self._tellers.append(self._teller(name, found))
        limit = self._effort.milliseconds
        telling = self._tellers
        while telling and (limit is None or 1000 * (time.perf_counter() - began) < limit):
            is_early = limit is None or 2000 * (time.perf_counter() - began) < limit
            for teller in telling:
                yield from teller.round(may_describe=is_early)
            telling = [teller for teller in telling if not teller.is_done]
            if self._asker is not None and self._asker.has_left:
                raise CancelledError
        self._end(time.perf_counter() - began)

    def title(self, zone: ZoneInfo) -> str:
        """See `recap_title`."""
        return recap_title(len(self.entries), self._streams, *self.between, zone)

    def document(self) -> dict[str, Any]:
        """Return what came and went as a JSON-able dict, once iteration has ended."""
        return {
            "entries": [entry.document() for entry in self.entries],
            "coverage": {name: [one._asdict() for one in of] for name, of in self.coverage.items()},
            "described": self.described,
            "judged": self.judged,
            "known": self.known,
            "dropped": self.dropped,
            "unchecked": self.unchecked,
            "seconds": round(self.seconds, 3),
        }

    def _end(self, seconds: float) -> None:
        entries = [entry for teller in self._tellers for entry in teller.entries()]
        self.entries = sorted(entries, key=lambda one: (one.from_at, one.stream, one.sentence))
        self.coverage = {teller.name: teller.covered() for teller in self._tellers}
        hunters = self._hunters
        checked = [hunter for hunter in hunters if hunter.asked or hunter.read]
        self.unchecked = len(hunters) - len(checked)
        self.dropped = sum(not hunter.hunt.runs() for hunter in checked)
        self.seconds = seconds
        bounds = [teller.between for teller in self._tellers if teller.between is not None]
        if bounds:
            self.between = min(begin for begin, _ in bounds), max(end for _, end in bounds)

    def _teller(self, name: str, found: Describable) -> "_Teller":
        within = self._within.get(name, (None, None))
        prompt = found.model.family.recommended.recap_prompt
        blocks = stretch_of(found, prompt, within, self._layers, self._asker)
        return _Teller(name, found, blocks, self._effort, self._asker, self._hunters)


class _Teller:
    def __init__(
        self,
        name: str,
        found: Describable,
        blocks: StretchBlocks,
        effort: Effort,
        asker: Asker | None,
        hunting: list[Hunter],
    ) -> None:
        """It adds all its hunters to `hunting` as well."""
        self.name, self._found, self._blocks, self._asker = name, found, blocks, asker
        self._hunting, self._most = hunting, effort.judgements
        self._runs = runs_of(blocks, effort.proposals)
        self._left = iter(self._runs)
        self.described = 0
        self.hunters: dict[str, Hunter] = {}
        """By sentence, in the order in which they were said."""
        self.is_done = False
        breaks = {0, len(blocks.ids), *blocks.breaks}
        self._begins, self._ends = breaks, {one - 1 for one in breaks}

    def round(self, *, may_describe: bool) -> list[RecapEntry]:
        """Describe some runs or, after that, judge some blocks; return the entries now whole."""
        if may_describe and (runs := list(islice(self._left, MAX_PREFILLS))):
            self._describe(runs)
            return []
        most = AT_ONCE
        if self._most is not None:
            most = self._most - sum(hunter.asked for hunter in self.hunters.values())
        new = judge_some(list(self.hunters.values()), most) if most > 0 else []
        self.is_done = not new
        said = {hunter: said for said, hunter in self.hunters.items()}
        return [entry for hunter, runs in new for entry in self._told(said[hunter], hunter, runs)]

    def entries(self) -> list[RecapEntry]:
        return [
            entry
            for said, hunter in self.hunters.items()
            for entry in self._told(said, hunter, hunter.hunt.runs())
        ]

    @property
    def between(self) -> tuple[float, float] | None:
        """The stretch by the clock; None if nothing of it is kept."""
        blocks = self._blocks
        if not len(blocks.ids):
            return None
        begin_s, end_s = blocks.within
        return blocks.clock(0, begin_s), blocks.clock(-1, end_s)

    def covered(self) -> list[Covered]:
        none = np.zeros(len(self._blocks.ids), dtype=bool)
        return self._blocks.covered((), self._runs[: self.described], none)

    def _told(self, said: str, hunter: Hunter, runs: Sequence[Run]) -> Iterator[RecapEntry]:
        for run in runs:
            came, left = run.first not in self._begins, run.last not in self._ends
            if came or left:
                span = vars(hunter.span(run))
                yield RecapEntry(**span, sentence=said, came=came, left=left)

    def _describe(self, runs: Sequence[tuple[int, int]]) -> None:
        recommended, blocks = self._found.model.family.recommended, self._blocks
        places = [(first + last) // 2 for first, last in runs]
        ends_s = [float(blocks.ends[place]) for place in places]
        jobs = [
            self._found.begin_describing(Wish(recommended.recap_prompt, at_s, at_s), self._asker)
            for at_s in ends_s
        ]
        try:
            for place, job in zip(places, jobs, strict=True):
                for said in said_in(_description(job), recommended):
                    if said not in self.hunters:
                        statement = recommended.recap_statement.replace("{said}", said)
                        self.hunters[said] = Hunter(
                            self.name,
                            self._found,
                            statement,
                            blocks,
                            threshold=recommended.recap_threshold,
                            asker=self._asker,
                        )
                        self._hunting.append(self.hunters[said])
                    self.hunters[said].propose(place)
                self.described += 1
        finally:
            for job in jobs:
                job.cancel()


def runs_of(blocks: StretchBlocks, most: int | None) -> list[tuple[int, int]]:
    """Return the first and last places of runs of similar blocks. If there were more than `most`,
    the neighbours that differ least are joined.
    """
    count = len(blocks.ids)
    if not count or most == 0:
        return []
    borders = np.flatnonzero(blocks.likeness < SAME)
    borders = borders[borders > 0]
    if most is not None and len(borders) >= most:
        order = np.argsort(blocks.likeness[borders], kind="stable")
        borders = np.sort(borders[order[: most - 1]])
    firsts = [0, *borders.tolist()]
    return list(zip(firsts, [*(one - 1 for one in firsts[1:]), count - 1], strict=True))


def said_in(description: str, recommended: Recommended) -> list[str]:
    """Return the parts of a description that say that something is there."""
    for unsaid, instead in recommended.recap_unsaid:
        description = re.sub(unsaid, instead, description)
    parts = description.split(recommended.recap_separator)
    parts = [_BULLET.sub("", part.strip()).strip() for part in parts]
    said = [part for part in parts if 0 < len(part) <= _MOST_LETTERS and not _NOTHING.match(part)]
    return list(dict.fromkeys(said))[:_MOST_SAID]


def _description(job: Job[str]) -> str:
    """Return nothing for a block that was forgotten meanwhile."""
    try:
        return job.result()
    except (QuestionError, KVMemoryError):
        return ""
