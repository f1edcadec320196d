"""Finding: yields the spans of streams in which a statement is true, as they are found.

The index says where to look, as in a search; the model says whether the statement is true at a
block: see `vstream.search.hunter`.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import CancelledError
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Bool

from memory.ageing import ALIKE
from vstream.device.asker import Asker
from vstream.errors import QuestionError, SettingsError
from vstream.search.hunt import excluded, proposals
from vstream.search.hunter import (
    Findable,
    FoundSpan,
    Hunter,
    Hunting,
    asked_of,
    judge_some,
    stretch_of,
)
from vstream.search.stretch_blocks import Bounds, Covered


@dataclass(frozen=True)
class Effort:
    """Bounds on the work for each stream, and on the milliseconds for all; None: no bound. Without
    a bound on `proposals` the index excludes nothing, and a span is only what was judged block by
    block. Nor does it exclude anything in a stretch of no more blocks than that bound.
    """

    proposals: int | None
    judgements: int | None
    milliseconds: int | None


EFFORTS = {
    "quick": Effort(32, 96, 1_000),
    "default": Effort(240, 480, 5_000),
    "thorough": Effort(None, 20_000, 600_000),
}


def effort_of(
    name: str,
    proposals: int | None = None,
    judgements: int | None = None,
    milliseconds: int | None = None,
    of: Mapping[str, Effort] = EFFORTS,
) -> Effort:
    """Return an effort by name, with other bounds where they are given. Raises SettingsError."""
    if name not in of:
        raise SettingsError(f"effort {name!r}: there are {', '.join(of)}")
    given = {"proposals": proposals, "judgements": judgements, "milliseconds": milliseconds}
    return replace(of[name], **{key: one for key, one in given.items() if one is not None})


class Finding(Hunting):
    """Iterate it for the spans of all streams, each once it is final; the other fields are complete
    once iteration has ended. Close the iterator, or let the asker leave, to stop it within a round.
    """

    def __init__(
        self,
        streams: Mapping[str, Findable],
        statement: str,
        *,
        within: Mapping[str, Bounds] | None = None,
        effort: Effort = EFFORTS["default"],
        layers: Sequence[int] | None = None,
        asker: Asker | None = None,
    ) -> None:
        """`within` are stretches of stream time; a stream without one is searched whole. `layers`
        is as in MomentSearch; all streams share one model. Raises QuestionError for no words.
        """
        super().__init__()
        if not statement.strip():
            raise QuestionError("the statement is empty: write what is so, as 'a car is parked'")
        self.spans: list[FoundSpan] = []
        """All spans, by stream and time."""
        self.coverage: dict[str, list[Covered]] = {}
        """For each stream, the parts of its stretch in order, and what is known of them."""
        self.strange: dict[str, str] = {}
        """For each stream whose pictures its model does not know, why its spans mean nothing."""
        self.seconds = 0.0
        self._streams, self._within, self._effort = streams, within or {}, effort
        self._statement, self._layers, self._asker = statement.strip(), layers, asker

    def __iter__(self) -> Iterator[FoundSpan]:
        began = time.perf_counter()
        hunters = {name: self._begin(name, found) for name, found in self._streams.items()}
        limit = self._effort.milliseconds
        hunting = {name: hunter for name, (hunter, _) in hunters.items()}
        while hunting and (limit is None or 1000 * (time.perf_counter() - began) < limit):
            for name, hunter in list(hunting.items()):
                if not (judged := judge_some([hunter])):
                    del hunting[name]
                for _, runs in judged:
                    yield from map(hunter.span, runs)
            if self._asker is not None and self._asker.has_left:
                raise CancelledError
        if limit is None or 1000 * (time.perf_counter() - began) < limit:
            for hunter, _ in hunters.values():
                hunter.confirmed([run for run in hunter.runs() if not run.is_whole])
        self.spans = [one.span(run) for one, _ in hunters.values() for run in one.runs()]
        self.coverage = {name: one.covered(out) for name, (one, out) in hunters.items()}
        reasons = {name: hunter.strange() for name, (hunter, _) in hunters.items()}
        self.strange = {name: one for name, one in reasons.items() if one is not None}
        self.seconds = time.perf_counter() - began

    def _begin(self, name: str, found: Findable) -> tuple[Hunter, Bool[np.ndarray, " places"]]:
        within, effort = self._within.get(name, (None, None)), self._effort
        asked = asked_of(found, self._statement)
        blocks = stretch_of(found, asked, within, self._layers, self._asker)
        is_exact = effort.proposals is None
        is_short = effort.proposals is None or len(blocks.ids) <= effort.proposals
        out = excluded(blocks.scores) & (not is_short)
        hunter = Hunter(
            name,
            found,
            self._statement,
            blocks,
            proposals(blocks.scores, blocks.looks(ALIKE), out)[: effort.proposals],
            is_exact=is_exact,
            most=effort.judgements,
            asker=self._asker,
        )
        self._hunters.append(hunter)
        return hunter, out

    def document(self) -> dict[str, Any]:
        """Return what was found as a JSON-able dict without pictures, once iteration has ended."""
        return {
            "statement": self._statement,
            "spans": [span.document() for span in self.spans],
            "coverage": {name: [one._asdict() for one in of] for name, of in self.coverage.items()},
            "strange": self.strange,
            "judged": self.judged,
            "known": self.known,
            "seconds": round(self.seconds, 3),
        }
