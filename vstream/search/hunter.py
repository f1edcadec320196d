"""Hunter: finds out when a statement is true in a stream's blocks, round by round.

The model says whether a statement is true at a block, by its yes or no over that block alone, as
for an alert. With the embedded model, which this was measured with, a judgement that read 2 to 8
blocks was worse: what has just left was still seen (docs/find.md). `vstream.search.hunt` decides
which blocks are judged.

Among many blocks a few look like what they are not. So where a family has a check for that, a span
only counts if the model, asked what there is at the block that decides it, comes to name the thing.

Judgements are kept in the memory beside their blocks, so asking again costs no model. They wait
behind all questions, few at a time, and so do judgements of alerts that come meanwhile.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool

from encoders import TextTokens
from memory import BlockNotFoundError, MemoryReader
from vstream.device.asker import Asker
from vstream.device.scheduler import MAX_PREFILLS
from vstream.device.work import FairLock, Job, WorkKind
from vstream.engine.passes import Work
from vstream.engine.question_prefill import PrefilledQuestion, QuestionPrefill
from vstream.engine.retrieval import MemoryView
from vstream.models.video_llm import VideoLLM
from vstream.question import UNTOLD
from vstream.read_while_written import read_while_written
from vstream.search.asked_check import AskedCheck
from vstream.search.hunt import Hunt, Run
from vstream.search.stretch_blocks import Bounds, Covered, StretchBlocks, blocks_of
from vstream.strange_pictures import strange_stretch

AT_ONCE = MAX_PREFILLS
"""Judgements of one stream that run together: as many as one round takes."""


class Findable(Protocol):
    """A stream's Session, or a StreamReader of it."""

    @property
    def model(self) -> VideoLLM: ...
    @property
    def memory(self) -> MemoryReader: ...
    @property
    def questions(self) -> QuestionPrefill: ...


@dataclass(frozen=True)
class FoundSpan:
    """A stretch of `stream` in which the statement is true: `from_s` to `to_s` in stream time,
    `from_at` to `to_at` in seconds since the epoch. The rest is about the block that decides, where
    it is most probable: it shows `at_s`, which was captured `at`.
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
    """It is known to be false right before and right after; else there was no time to see."""
    thumbnail: bytes = field(default=b"", repr=False, metadata=UNTOLD)

    def document(self) -> dict[str, Any]:
        """Return a JSON-able dict without the picture."""
        document = {**vars(self), "probability": round(self.probability, 6)}
        del document["thumbnail"]
        return document


class Hunter:
    def __init__(
        self,
        name: str,
        found: Findable,
        statement: str,
        blocks: StretchBlocks,
        proposed: Sequence[int] = (),
        *,
        threshold: float | None = None,
        is_exact: bool = False,
        most: int | None = None,
        asker: Asker | None = None,
    ) -> None:
        """`proposed`, `is_exact` and `most` are as in Hunt. The statement is true from `threshold`
        on; None: from what the family recommends.
        """
        self.statement = statement
        self._name, self._found, self._asker = name, found, asker
        family = found.model.family
        checks = [AskedCheck(one, found.model) for one in family.checks(statement)]
        self._checks = [one for one in checks if not one.is_of_spans]
        self._span_checks = [one for one in checks if one.is_of_spans]
        self._denied: set[int] = set()
        """Places that decided a span, but do not name the thing when asked what there is."""
        self._blocks = blocks
        self.asked = self.read = 0
        """Blocks judged now, and blocks whose judgement was known."""
        self.gone: set[int] = set()
        """Places of blocks that were forgotten meanwhile, or turned out to be damaged."""
        self._said: set[int] = set()
        self._high = family.recommended.find_threshold
        high = self._high if threshold is None else threshold
        self._low = high / 2
        self.hunt = Hunt(
            blocks.same,
            proposed,
            high=high,
            low=self._low,
            breaks=blocks.breaks,
            is_exact=is_exact,
            most=most,
        )

    def propose(self, place: int) -> None:
        """Propose a place, not judged yet, where the model said so: true if a neighbour is."""
        self._said.add(place)
        self.hunt.propose(place)

    def take(self, judged: Mapping[int, float]) -> list[Run]:
        return self.hunt.take(
            {at: max(p, self._low) if at in self._said else p for at, p in judged.items()}
        )

    @property
    def turn(self) -> FairLock:
        return self._found.model.turn

    def runs(self) -> list[Run]:
        """Return all runs found and not denied, as Hunt does."""
        return [run for run in self.hunt.runs() if run.best not in self._denied]

    def confirmed(self, runs: Sequence[Run]) -> list[Run]:
        """Return the runs that no check denies; what the model said by itself is not checked."""
        if not (runs and self._span_checks):
            return list(runs)
        asked = [run for run in runs if self._said.isdisjoint(range(run.first, run.last + 1))]
        with self.turn:  # so that one round takes them all
            jobs = {run.best: self._submit(run.best, self._span_checks) for run in asked}
        try:
            for place, job in jobs.items():
                try:
                    if job.result() < self._high:
                        self._denied.add(place)
                except BlockNotFoundError:
                    self._denied.add(place)
                    self.gone.add(place)
        finally:
            for job in jobs.values():
                job.cancel()
        return [run for run in runs if run.best not in self._denied]

    def known(self, place: int) -> float | None:
        """Return what is known of a place; None if not all that matters was asked."""
        probability, block_id = 1.0, self._blocks.ids[place]
        for check in self._checks:
            said = self._found.memory.facts.get(block_id, check.name)
            if said is None:
                return None
            probability = min(probability, said)
            if probability < self._low:
                break
        return probability

    def begin(self, place: int) -> Job[float]:
        return self._submit(place, self._checks)

    def _submit(self, place: int, checks: Sequence[AskedCheck]) -> Job[float]:
        work = self._judging(self._blocks.ids[place], checks)
        return self._found.model.scheduler.submit(work, WorkKind.JUDGE, asker=self._asker)

    def span(self, run: Run) -> FoundSpan:
        """Return a run in seconds, with the picture of the block that decides."""
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

    def covered(self, is_excluded: Bool[np.ndarray, " places"]) -> list[Covered]:
        runs = [(run.first, run.last) for run in self.hunt.nearly()]
        return self._blocks.covered(self.hunt.judged, runs, is_excluded, self.gone)

    def strange(self) -> str | None:
        """See `vstream.strange_pictures`."""
        model, memory = self._found.model, self._found.memory
        try:
            with model.turn:
                return strange_stretch(memory, model.family, self._blocks.ids)
        except BlockNotFoundError:  # forgotten meanwhile
            return None

    def _judging(self, block_id: int, checks: Sequence[AskedCheck]) -> Work[float]:
        """Return the lowest probability of the checks; the first no ends it."""
        facts, probability = self._found.memory.facts, 1.0
        for check in checks:
            said = facts.get(block_id, check.name)
            if said is None:
                said = yield from check.work(partial(_reading, self._found, [block_id]))
                facts.put(block_id, check.name, said)  # the block is still there: see `put`
            probability = min(probability, said)
            if probability < self._low:
                break
        return probability


class Hunting:
    """A hunt for one statement or many; counts the blocks looked at so far."""

    def __init__(self) -> None:
        self._hunters: list[Hunter] = []
        """All of them; more may come meanwhile."""

    @property
    def judged(self) -> int:
        """Blocks that the model has judged so far."""
        return sum(hunter.asked for hunter in self._hunters)

    @property
    def known(self) -> int:
        """Blocks whose judgement was known before."""
        return sum(hunter.read for hunter in self._hunters)


def asked_of(found: Findable, statement: str) -> str:
    """Return what the index compares with a statement."""
    return found.model.family.recommended.judge_prompt.replace("{condition}", statement)


def stretch_of(
    found: Findable,
    asked: str,
    within: Bounds,
    layers: Sequence[int] | None = None,
    asker: Asker | None = None,
) -> StretchBlocks:
    """Return the blocks of a stretch, scored by the index. `layers` is as in MomentSearch."""
    count = found.model.decoder.num_layers
    words = asked, tuple(sorted({0, count // 2} if layers is None else set(layers)))
    memory, turn = found.memory, found.model.turn
    if (known := memory.facts.compared(words)) is not None:
        query = known.query
    else:
        scheduler, tokens = found.model.scheduler, found.model.family.question(asked)
        queries = scheduler.submit(_query(found, tokens), WorkKind.JUDGE, asker=asker).result()
        query = F.normalize(queries[list(words[1])].float().cpu(), dim=1).numpy()
    return read_while_written(partial(blocks_of, memory, turn, words, query, within))


def judge_some(hunters: Sequence[Hunter], most: int = AT_ONCE) -> list[tuple[Hunter, list[Run]]]:
    """Judge the next places, at most a round's; return the runs that are whole now, if any."""
    places: list[tuple[Hunter, int]] = []
    for hunter in hunters:
        if (room := min(most, AT_ONCE) - len(places)) > 0:
            places += ((hunter, place) for place in hunter.hunt.wanted(room))
    values = {one: one[0].known(one[1]) for one in places}
    jobs: dict[tuple[Hunter, int], Job[float]] = {}
    if any(known is None for known in values.values()):
        with places[0][0].turn:  # so that one round takes them all
            jobs = {one: one[0].begin(one[1]) for one, known in values.items() if known is None}
    try:
        for (hunter, place), job in jobs.items():
            try:
                values[hunter, place] = job.result()
            except BlockNotFoundError:  # it shows nothing, and no span goes on beyond it
                values[hunter, place] = 0.0
                hunter.gone.add(place)
    finally:
        for job in jobs.values():
            job.cancel()
    by_hunter: dict[Hunter, dict[int, float]] = {}
    for (hunter, place), probability in values.items():
        assert probability is not None, "it was known or has been judged"
        by_hunter.setdefault(hunter, {})[place] = probability
        hunter.asked += (hunter, place) in jobs
        hunter.read += (hunter, place) not in jobs
    return [(hunter, hunter.confirmed(hunter.take(judged))) for hunter, judged in by_hunter.items()]


def _query(found: Findable, tokens: TextTokens) -> Work[torch.Tensor]:
    """Return what the index compares: each layer's mean query over the words, without blocks."""
    return torch.stack(list((yield from _reading(found, [], tokens)).queries))


def _reading(
    found: Findable, block_ids: Sequence[int], tokens: TextTokens, room: int = 1
) -> Work[PrefilledQuestion]:
    view = MemoryView(block_ids, len(block_ids))
    nothing_else: list[list[int]] = [[]] * found.model.decoder.num_layers
    return found.questions.work(tokens, view, nothing_else, room)
