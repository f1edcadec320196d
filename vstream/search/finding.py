"""Finding: a statement and stretches of streams in, the spans in which it is so out, as they come.

Where to look, the index says, as in a search; whether it is so at a block, the model does: see
`vstream.search.hunter`.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import CancelledError
from dataclasses import asdict, dataclass, replace
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
    """Bounds of what is done for each stream, and of the milliseconds for all; None: no bound.
    Without a bound of `proposals` the index excludes nothing, and a span is only what has been
    judged block by block. It excludes nothing either of a stretch of no more blocks than that.
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
    """An effort by its name, with other bounds where they are given. Raises SettingsError."""
    if name not in of:
        raise SettingsError(f"effort {name!r}: there are {', '.join(of)}")
    given = {"proposals": proposals, "judgements": judgements, "milliseconds": milliseconds}
    return replace(of[name], **{key: one for key, one in given.items() if one is not None})


class Finding(Hunting):
    """Iterate it for the spans of all streams, each once it will not change any more; its other
    fields are those of the whole once that has ended. Close the iterator, or let the asker leave,
    to have it stop within a round.
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
        """`within` are stretches of stream time, all of it where there is none. `layers` as in
        MomentSearch; all streams are of one model. Raises QuestionError for no words.
        """
        super().__init__()
        if not statement.strip():
            raise QuestionError("the statement is empty: write what is so, as 'a car is parked'")
        self.spans: list[FoundSpan] = []
        """All, by stream and time."""
        self.coverage: dict[str, list[Covered]] = {}
        """Of each stream the parts of its stretch, and what is known of them, in order."""
        self.strange: dict[str, str] = {}
        """Of each stream whose pictures its model does not know, why spans of it mean nothing."""
        self.seconds = 0.0
        self._streams, self._within, self._effort = streams, within or {}, effort
        self._statement, self._layers, self._asker = statement.strip(), layers, asker

    def __iter__(self) -> Iterator[FoundSpan]:
        began = time.perf_counter()
        begun = {name: self._begin(name, found) for name, found in self._streams.items()}
        limit = self._effort.milliseconds
        hunting = {name: hunter for name, (hunter, _) in begun.items()}
        while hunting and (limit is None or 1000 * (time.perf_counter() - began) < limit):
            for name, hunter in list(hunting.items()):
                if not (told := judge_some([hunter])):
                    del hunting[name]
                for _, runs in told:
                    yield from map(hunter.span, runs)
            if self._asker is not None and self._asker.has_left:
                raise CancelledError
        if limit is None or 1000 * (time.perf_counter() - began) < limit:
            for hunter, _ in begun.values():
                hunter.confirmed([run for run in hunter.runs() if not run.is_whole])
        self.spans = [one.span(run) for one, _ in begun.values() for run in one.runs()]
        self.coverage = {name: one.covered(out) for name, (one, out) in begun.items()}
        reasons = {name: hunter.strange() for name, (hunter, _) in begun.items()}
        self.strange = {name: one for name, one in reasons.items() if one is not None}
        self.seconds = time.perf_counter() - began

    def _begin(self, name: str, found: Findable) -> tuple[Hunter, Bool[np.ndarray, " places"]]:
        within, effort = self._within.get(name, (None, None)), self._effort
        asked = asked_of(found, self._statement)
        blocks = stretch_of(found, asked, within, self._layers, self._asker)
        is_exact = effort.proposals is None
        is_short = effort.proposals is None or len(blocks.ids) <= effort.proposals
        out = excluded(blocks.scores) & (not is_short)
        order = [i for i in proposals(blocks.scores, blocks.looks(ALIKE)) if not out[i]]
        hunter = Hunter(
            name,
            found,
            self._statement,
            blocks,
            order[: effort.proposals],
            is_exact=is_exact,
            most=effort.judgements,
            asker=self._asker,
        )
        self._hunters.append(hunter)
        return hunter, out

    def document(self) -> dict[str, Any]:
        """JSON-able, without pictures: what was found, once that has ended."""
        return {
            "statement": self._statement,
            "spans": [span.document() for span in self.spans],
            "coverage": {name: [asdict(one) for one in of] for name, of in self.coverage.items()},
            "strange": self.strange,
            "judged": self.judged,
            "known": self.known,
            "seconds": round(self.seconds, 3),
        }
