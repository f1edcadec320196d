"""Finding: a statement and stretches of streams in, the spans in which it is so out, as they come.

Where to look, the index says, as in a search; whether it is so at a block, the model does, by its
yes or no to the statement over that block alone, as to a standing question. Of the embedded model,
which this was measured with, a judgement that read 2 to 8 blocks was worse: what has just left was
still seen (docs/find.md). `vstream.search.hunt` has which blocks are judged.

What was judged is kept in the memory beside its block, so asking again costs no model. Judgements
wait behind all questions, few at a time, and so do the standing questions that come meanwhile.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import CancelledError
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import Any, Protocol

import torch

from encoders import TextTokens
from memory import BlockNotFoundError, MemoryReader
from memory.ageing import ALIKE
from vstream.device.asker import Asker
from vstream.device.scheduler import MAX_PREFILLS
from vstream.device.work import Job, WorkKind
from vstream.engine.passes import Work
from vstream.engine.question_prefill import PrefilledQuestion, QuestionPrefill
from vstream.engine.retrieval import MemoryView
from vstream.errors import QuestionError, SettingsError
from vstream.models.video_llm import VideoLLM
from vstream.question import UNTOLD
from vstream.read_while_written import read_while_written
from vstream.search.asked_check import AskedCheck
from vstream.search.hunt import Hunt, Run, excluded, proposals
from vstream.search.stretch_blocks import Bounds, Covered, blocks_of

AT_ONCE = MAX_PREFILLS
"""Judgements of one stream that are on their way together: as many as one round takes."""

SAME = 0.95
"""Neighbours at least so alike show the same. In a made-up stream they are two thirds of all, and
between them lies 1 in 100 comings and goings.
"""


class Findable(Protocol):
    """A stream's Session, or a StreamReader of it."""

    @property
    def model(self) -> VideoLLM: ...
    @property
    def memory(self) -> MemoryReader: ...
    @property
    def questions(self) -> QuestionPrefill: ...


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
    "default": Effort(160, 480, 5_000),
    "thorough": Effort(None, 20_000, 600_000),
}


def effort_of(
    name: str,
    proposals: int | None = None,
    judgements: int | None = None,
    milliseconds: int | None = None,
) -> Effort:
    """An effort by its name, with other bounds where they are given. Raises SettingsError."""
    if name not in EFFORTS:
        raise SettingsError(f"effort {name!r}: there are {', '.join(EFFORTS)}")
    given = {"proposals": proposals, "judgements": judgements, "milliseconds": milliseconds}
    return replace(EFFORTS[name], **{key: one for key, one in given.items() if one is not None})


@dataclass(frozen=True)
class FoundSpan:
    """A stretch of `stream` in which the statement is so.

    `from_s` to `to_s` is stream time, `from_at` to `to_at` the same in seconds since the epoch. The
    rest is of the block that decides, the one where it is most probable: it shows `at_s`, which was
    captured `at`.
    """

    stream: str
    from_s: float
    to_s: float
    from_at: float
    to_at: float
    probability: float
    block_id: int
    at_s: float
    at: float
    is_whole: bool
    """It is known not to be so right before and right after; else there was no time to see."""
    thumbnail: bytes = field(default=b"", repr=False, metadata=UNTOLD)

    def document(self) -> dict[str, Any]:
        """JSON-able, without the picture."""
        told = {**vars(self), "probability": round(self.probability, 6)}
        del told["thumbnail"]
        return told


class Finding:
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
        if not statement.strip():
            raise QuestionError("the statement is empty: write what is so, as 'a car is parked'")
        self.spans: list[FoundSpan] = []
        """All, by stream and time."""
        self.coverage: dict[str, list[Covered]] = {}
        """Of each stream the parts of its stretch, and what is known of them, in order."""
        self.judged = self.known = 0
        """Blocks that the model judged, and those that it had judged before."""
        self.seconds = 0.0
        self._streams, self._within, self._effort = streams, within or {}, effort
        self._statement, self._layers, self._asker = statement.strip(), layers, asker

    def __iter__(self) -> Iterator[FoundSpan]:
        began = time.perf_counter()
        hunters = {name: self._hunter(name, found) for name, found in self._streams.items()}
        limit = self._effort.milliseconds
        hunting = dict(hunters)
        while hunting and (limit is None or 1000 * (time.perf_counter() - began) < limit):
            for name, hunter in list(hunting.items()):
                runs = hunter.round()
                self.judged, self.known = self.judged + hunter.asked, self.known + hunter.read
                if runs is None:
                    del hunting[name]
                else:
                    yield from map(hunter.span, runs)
            if self._asker is not None and self._asker.has_left:
                raise CancelledError
        self.spans = [hunter.span(run) for hunter in hunters.values() for run in hunter.hunt.runs()]
        self.coverage = {name: hunter.covered() for name, hunter in hunters.items()}
        self.seconds = time.perf_counter() - began

    def document(self) -> dict[str, Any]:
        """JSON-able, without pictures: what was found, once that has ended."""
        return {
            "statement": self._statement,
            "spans": [span.document() for span in self.spans],
            "coverage": {name: [asdict(one) for one in of] for name, of in self.coverage.items()},
            "judged": self.judged,
            "known": self.known,
            "seconds": round(self.seconds, 3),
        }

    def _hunter(self, name: str, found: Findable) -> "_Hunter":
        within = self._within.get(name, (None, None))
        told = self._effort, self._layers, self._asker
        return _Hunter(name, found, self._statement, within, *told)


class _Hunter:
    """Hunts in one stream."""

    def __init__(
        self,
        name: str,
        found: Findable,
        statement: str,
        within: Bounds,
        effort: Effort,
        layers: Sequence[int] | None,
        asker: Asker | None,
    ) -> None:
        self._name, self._found, self._asker = name, found, asker
        count, family = found.model.decoder.num_layers, found.model.family
        high = family.recommended.find_threshold
        self._low = high / 2
        self._checks = [AskedCheck(one, family) for one in family.checks(statement)]
        self.asked = self.read = 0
        """Blocks judged in the last round, and those that it knew of already."""
        self._gone: set[int] = set()
        """Places of blocks that were forgotten meanwhile, or turned out to be damaged."""
        prompt = family.recommended.watch_prompt.replace("{watch}", statement)
        queries = self._submit(self._query(family.question(prompt))).result()
        compared = sorted({0, count // 2} if layers is None else set(layers))
        memory, turn = found.memory, found.model.turn
        read = partial(blocks_of, memory, turn, queries, compared, within)
        self._blocks = read_while_written(read)
        scores, is_exact = self._blocks.scores, effort.proposals is None
        is_short = effort.proposals is None or len(scores) <= effort.proposals
        self._is_excluded = excluded(scores) & (not is_short)
        order = [
            i for i in proposals(scores, self._blocks.looks(ALIKE)) if not self._is_excluded[i]
        ]
        self.hunt = Hunt(
            self._blocks.looks(SAME).tolist(),
            order[: effort.proposals],
            high=high,
            low=self._low,
            breaks=self._blocks.breaks,
            is_exact=is_exact,
            most=effort.judgements,
        )

    def round(self) -> list[Run] | None:
        """Judge some blocks; the runs that are whole now. None: there is nothing left to judge."""
        places = self.hunt.wanted(AT_ONCE)
        ids = self._blocks.ids
        found = {place: self._known(ids[place]) for place in places}
        told = {place: known for place, known in found.items() if known is not None}
        jobs = {}
        if len(told) < len(places):
            with self._found.model.turn:  # so that one round takes all
                jobs = {p: self._submit(self._judging(ids[p])) for p in places if p not in told}
        self.asked, self.read = len(jobs), len(told)
        try:
            for place, job in jobs.items():
                try:
                    told[place] = job.result()
                except BlockNotFoundError:  # it shows nothing, and no span goes on beyond it
                    told[place] = 0.0
                    self._gone.add(place)
        finally:
            for job in jobs.values():
                job.cancel()
        return self.hunt.take(told) if places else None

    def span(self, run: Run) -> FoundSpan:
        """The same in seconds, with the picture of the block that decides."""
        blocks, memory = self._blocks, self._found.memory
        try:
            with self._found.model.turn:
                picture = memory.thumbnail(blocks.ids[run.best])
        except BlockNotFoundError:  # forgotten meanwhile
            picture = b""
        from_s, to_s = float(blocks.starts[run.first]), float(blocks.reaches[run.last])
        return FoundSpan(
            self._name,
            from_s,
            to_s,
            blocks.clock(run.first, from_s),
            blocks.clock(run.last, to_s),
            run.probability,
            blocks.ids[run.best],
            float(blocks.ends[run.best]),
            float(blocks.captured_at[run.best]),
            run.is_whole,
            picture,
        )

    def covered(self) -> list[Covered]:
        """What is known of the stretch."""
        runs = [(run.first, run.last) for run in self.hunt.nearly()]
        return self._blocks.covered(self.hunt.judged, runs, self._is_excluded, self._gone)

    def _submit(self, work: Work[Any]) -> Job[Any]:
        scheduler = self._found.model.scheduler
        return scheduler.submit(work, WorkKind.JUDGE, asker=self._asker)

    def _query(self, words: TextTokens) -> Work[torch.Tensor]:
        """What the index compares: each layer's mean query over the words, which see no block."""
        return torch.stack(list((yield from self._reading([], words)).queries))

    def _known(self, block_id: int) -> float | None:
        """What was said of a block before; None if not all that matters was asked."""
        probability = 1.0
        for check in self._checks:
            said = self._found.memory.facts.get(block_id, check.name)
            if said is None:
                return None
            probability = min(probability, said)
            if probability < self._low:
                break
        return probability

    def _judging(self, block_id: int) -> Work[float]:
        """The least probable of its checks; the first that says no ends it."""
        facts, probability = self._found.memory.facts, 1.0
        for check in self._checks:
            said = facts.get(block_id, check.name)
            if said is None:
                said = yield from check.work(partial(self._reading, [block_id]))
                facts.put(block_id, check.name, said)  # it is there: see `put`
            probability = min(probability, said)
            if probability < self._low:
                break
        return probability

    def _reading(self, block_ids: Sequence[int], tokens: TextTokens) -> Work[PrefilledQuestion]:
        view = MemoryView(block_ids, len(block_ids))
        nothing_else: list[list[int]] = [[]] * self._found.model.decoder.num_layers
        return self._found.questions.work(tokens, view, nothing_else, 1)
