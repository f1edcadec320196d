"""planned: answers a question about time from spans that a search finds, or returns None.

The grammar of `vstream.planning.time_question` says which statements the question is about, `find`
says when each was true in the stretch that the question may see, and the answer is written from
that: no word of it is the model's. What the grammar does not understand is answered as usual.
"""

import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import datetime
from functools import partial
from math import inf, nextafter
from typing import Any

from encoders import with_time_words
from vstream.answer_stream import AnswerStream
from vstream.device.asker import Asker
from vstream.errors import ModelError
from vstream.planning.sentence import Known, Words, related, sentence, words_in
from vstream.planning.time_question import TimeQuestion, time_question
from vstream.question import Answer, Basis, CitedSpan, Evidence, Plan, Question, Stretch, Timings
from vstream.search.finding import Effort, Finding
from vstream.search.hunter import Findable, FoundSpan
from vstream.search.stretch_blocks import Covered
from vstream.strange_pictures import with_warning
from vstream.times.named_view import NamedView
from vstream.times.time_phrase import time_phrases
from vstream.times.zone import zone_of

_STREAM = ""
"""One stream needs no name."""


class PlannedAnswer(AnswerStream):
    """An answer that is complete from the start; iterate or read it like any other."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self._pieces = iter([answer.text])
        self.evidence = answer.evidence
        self.looked = answer.looked
        self.retrieved = []
        self.recent_ids = ()

    def cancel(self) -> bool:
        """Return False: there is nothing left to decode."""
        return False


def time_question_of(question: Question, seen: NamedView) -> TimeQuestion | None:
    """Return what it wants to know, if spans can answer that. A question that fixes the answer's
    form is for the model, and so is one that names times that are not followed.
    """
    shape = question.decoding
    if question.answer_start or shape.schema or shape.json_object or shape.stop:
        return None
    wanted = time_question(seen.rest, names_time=seen.looked is not None)
    if wanted is None or time_phrases(seen.rest):
        return None
    return wanted if with_time_words(seen.rest, lambda _: "") == seen.rest else None


def planned(
    stream: Findable,
    question: Question,
    wanted: TimeQuestion,
    seen: NamedView,
    basis: Basis,
    effort: Effort,
    layers: Sequence[int] | None,
    asked: float,
) -> PlannedAnswer | None:
    """Search for all that is wanted; None if the model's yes cannot be told from its no. `seen` has
    blocks, `basis` is the answer's, and `asked` is when it was asked, in `time.perf_counter`
    seconds. Raises QuestionError, KVMemoryError; CancelledError if the asker leaves.
    """
    with stream.model.turn:
        ids, memory = seen.view.ids, stream.memory
        bounds = memory.info(ids[0]).start_s, memory.info(ids[-1]).end_s
        newest_s = memory.info(memory.seen(question.at_s)[-1]).end_s
        is_cut = seen.looked is None and question.from_s is None and ids[0] > 0
    if question.from_s is not None:  # leave out the block that ends exactly there
        bounds = nextafter(bounds[0], inf), bounds[1]
    found = _found(stream, wanted, question.asker, bounds, effort, layers)
    if found is None:
        return None
    is_now = bounds[1] >= newest_s
    known = {text: _known(one, bounds, is_now, is_cut) for text, one in found.items()}
    other = None if wanted.other is None else known[wanted.other.statement]
    counted = [related(wanted, known[one.statement], other) for one in wanted.clauses]
    spans = [span for one in counted for span in one.spans]
    took_ms = 1000 * (time.perf_counter() - asked)
    reasons = (found_of.strange.get(_STREAM) for found_of in found.values())
    basis = replace(basis, strange=next((one for one in reasons if one is not None), None))
    text = sentence(wanted, counted, _words(question))
    sure = min((span.probability for span in spans), default=1.0)
    return PlannedAnswer(
        Answer(
            **vars(basis),
            question=question,
            text=text if basis.strange is None else with_warning(text, basis.strange),
            token_ids=(),
            asked_at_s=basis.newest_frame_s if question.at_s is None else question.at_s,
            evidence=_evidence(spans, stream.model.decoder.num_layers),
            timings_ms=Timings(took_ms, took_ms, asked_at=time.time() - took_ms / 1000),
            truncated=False,
            confidence=basis.trusted(sure),
            looked=seen.looked,
            spans=_cited(spans),
            plan=Plan(
                kind=wanted.kind,
                relation=wanted.relation,
                stretch=Stretch(*bounds),
                effort=asdict(effort),
                found=tuple(_document(one) for one in found.values()),
            ),
        )
    )


def _words(question: Question) -> Words:
    zone = None if question.zone is None else zone_of(question.zone)
    now = datetime.fromtimestamp(question.asked_at or time.time(), zone) if zone else None
    return words_in(zone, now)


def _cited(spans: Sequence[FoundSpan]) -> tuple[CitedSpan, ...]:
    """Give all the same share: no word of the answer looked anywhere."""
    share = 1 / max(1, len(spans))
    return tuple(CitedSpan(one.from_s, one.to_s, one.from_at, one.to_at, share) for one in spans)


def _found(
    stream: Findable,
    wanted: TimeQuestion,
    asker: Asker | None,
    bounds: tuple[float, float],
    effort: Effort,
    layers: Sequence[int] | None,
) -> dict[str, Finding] | None:
    """Search for each statement, sharing the time. None for a model that cannot judge."""
    clauses = [*wanted.clauses, *([] if wanted.other is None else [wanted.other])]
    statements = dict.fromkeys(one.statement for one in clauses)
    if effort.milliseconds is not None:
        effort = replace(effort, milliseconds=effort.milliseconds // len(statements))
    find = partial(
        Finding,
        {_STREAM: stream},
        within={_STREAM: bounds},
        effort=effort,
        layers=layers,
        asker=asker,
    )
    found = {statement: find(statement) for statement in statements}
    try:
        for finding in found.values():
            for _ in finding:
                continue
    except ModelError:
        return None
    return found


def _known(found: Finding, bounds: tuple[float, float], is_now: bool, is_cut: bool) -> Known:
    """`is_cut`: the oldest part of what the question asks about is no longer kept."""
    spans = [one for one in found.spans if one.to_s > bounds[0] or bounds[0] >= bounds[1]]
    unseen = [part for part in found.coverage[_STREAM] if part.kind in ("open", "gone")]
    if is_cut:
        unseen.insert(0, Covered("gone", -inf, bounds[0]))
    is_so_now = is_now and bool(spans) and spans[-1].to_s >= bounds[1]
    return Known(spans, unseen, is_so_now)


def _evidence(spans: Sequence[FoundSpan], num_layers: int) -> tuple[Evidence, ...]:
    of_block = {
        span.block_id: Evidence(
            block_id=span.block_id,
            start_s=span.at_s,
            end_s=span.at_s,
            captured_at=span.at,
            score=span.probability,
            num_layers=num_layers,
            thumbnail=span.thumbnail,
        )
        for span in spans
    }
    return tuple(sorted(of_block.values(), key=lambda one: (-one.score, one.block_id)))


def _document(found: Finding) -> dict[str, Any]:
    """Return a Finding's document for its one stream, without a name."""
    document = found.document()
    for span in document["spans"]:
        del span["stream"]
    return {**document, "coverage": document["coverage"][_STREAM]}
