"""Askers: put a question at a moment of a playing stream to a memory or a baseline."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from eval.play.block_choice import (
    BlockTimes,
    Oracle,
    evidence_blocks,
    recall_by_layer,
    spread_to_the_ends,
)
from eval.play.contender import FRAMES, ORACLE, Contender
from eval.play.plays import Pictures, Play, TimeSpan
from eval.play.settings import PlaySettings
from memory.policies.default import Default, DefaultSettings
from vstream import EFFORTS, Answer, Finding, Question, Session, VideoLLM, open_session
from vstream.answer import QueryHandler
from vstream.answer_stream import AnswerStream, Reading
from vstream.engine import MemoryView, view_at
from vstream.engine.passes import Work
from vstream.engine.question_prefill import BlocksByLayer
from vstream.policy import shape_of
from vstream.question import Basis
from vstream.sources.video_file import SAME_MOMENT_S

_ROUNDING_S = 1e-6
FIND_EFFORT = replace(EFFORTS["default"], milliseconds=None)
"""Without a time limit, so that an answer is the same on any machine."""
_STREAM = "played"


@dataclass(frozen=True)
class GivenAnswer:
    """One answer. `seen_s`: start, end and score of every block it was computed from; `cited_s`:
    start, end and share of every span its words looked at.

    `recall` is by layer the share of the question's evidence that its context had a block of,
    `held` the share that the memory still had one of; both are None if no evidence is known.
    """

    text: str | None
    newest_frame_s: float | None = None
    first_token_ms: float | None = None
    context_tokens: int | None = None
    is_cut: bool = False
    seen_s: tuple[tuple[float, float, float], ...] = ()
    cited_s: tuple[tuple[float, float, float], ...] = ()
    recall: tuple[float, ...] | None = None
    held: float | None = None
    error: str | None = None


Ask = Callable[[Question, Sequence[TimeSpan]], GivenAnswer]
"""Asks in order of time, once exactly the frames up to `question.at_s` (None: the end) have been
shown; takes the evidence, if it is known.
"""


class SessionAsker:
    """Asks the session that watches. Its own policy asks as the service does: `Session.ask`."""

    def __init__(
        self,
        session: Session,
        contender: Contender,
        settings: PlaySettings,
        handler: type[QueryHandler] | None = None,
    ) -> None:
        """Use the contender's policy over the same blocks; with a `handler`, the session's."""
        self._session = session
        self._has_plan = contender.plan
        self._ask = session.ask
        self._oracle: Oracle | None = None
        own = session.policy
        policy = own if handler else settings.policy(contender, session.model)
        if contender.policy == ORACLE:
            policy = self._oracle = Oracle(policy.shape, policy.settings)
        self.handler: QueryHandler | None = None
        if handler or self._oracle or (policy.name, policy.settings) != (own.name, own.settings):
            prefix, config = session.prefill.prefix, settings.configured(contender).engine
            answers = handler or QueryHandler
            self.handler = answers(session.model, session.memory, prefix, policy, config)
            self._ask = self.handler.ask

    def ask(self, question: Question, evidence: Sequence[TimeSpan] = ()) -> GivenAnswer:
        with self._session.model.turn:
            times = BlockTimes.of(self._session.memory) if evidence else None
        if oracle := self._oracle:
            view = view_at(self._session.memory, question.at_s, oracle.recent_blocks())
            most = oracle.retrieve_blocks()
            oracle.wanted = evidence_blocks(times, view, evidence, most) if times else ()
        stream = self._ask(replace(question, plan=self._has_plan))
        given = _given(stream.answer)
        if times is None:
            return given
        held = sum(bool(times.holding(span)) for span in evidence) / len(evidence)
        context = _context(stream)
        recall = tuple(recall_by_layer(times, evidence, context)) if context else None
        return replace(given, recall=recall, held=held)


def frames_asker(
    pictures: Pictures, from_s: float, model: VideoLLM, contender: Contender, settings: PlaySettings
) -> Ask:
    """Encode a few frames of the video by themselves for every question, then forget them. The time
    to the first token includes that.
    """
    settings = replace(settings, folder=None)
    config, fps = settings.configured(contender), model.sample_fps
    default = Default(shape_of(model, config.engine.max_answer_tokens), DefaultSettings())
    num_frames = default.context_blocks() * model.family.frames_per_block

    def moments_s(at_s: float | None) -> list[float]:
        """Return ticks of the sampling rate, evenly spread, none after `at_s` or the end."""
        end_s = pictures.duration_s if at_s is None else min(at_s, pictures.duration_s)
        first, last = math.ceil(from_s * fps - _ROUNDING_S), int(end_s * fps + _ROUNDING_S)
        newest_s = end_s - SAME_MOMENT_S + _ROUNDING_S  # a frame this soon counts as visible
        chosen = spread_to_the_ends(range(first, last + 1), num_frames)
        return [min(tick / fps, newest_s) for tick in chosen] or [newest_s]

    def ask(question: Question, evidence: Sequence[TimeSpan] = ()) -> GivenAnswer:
        found = pictures.frames_at(moments_s(question.at_s))
        seen = {f.stream_s: f for f in found if from_s - _ROUNDING_S <= f.stream_s}
        with open_session(config, model, FRAMES) as session:
            started = time.perf_counter()
            session.push(list(seen.values()))
            pushed_ms = (time.perf_counter() - started) * 1000
            asker = SessionAsker(session, contender, settings)
            given = replace(asker.ask(question, evidence), held=None)
        assert given.first_token_ms is not None
        return replace(given, first_token_ms=pushed_ms + given.first_token_ms)

    return ask


def blind_asker(session: Session) -> Ask:
    """Baseline: the model without a single frame; `session` has seen nothing."""
    blind = _BlindHandler(
        session.model, session.memory, session.prefill.prefix, session.policy, session.config
    )

    def ask(question: Question, evidence: Sequence[TimeSpan] = ()) -> GivenAnswer:
        given = _given(blind.ask(replace(question, at_s=None, plan=False)).answer)
        return replace(given, newest_frame_s=None)

    return ask


class _BlindHandler(QueryHandler):
    """Reads no blocks, which a session refuses: the context is only the prefix."""

    def _reading(
        self,
        question: Question,
        retrieved: BlocksByLayer | None = None,
        follows_times: bool = False,
    ) -> Work[Reading]:
        tokens = self._family.question(
            question.text, (), question.context, answer_start=question.answer_start
        )
        nothing: BlocksByLayer = [[]] * self._decoder.num_layers
        view, limit = MemoryView((), 0), question.decoding.max_tokens
        prefilled = yield from self.questions.work(tokens, view, nothing, limit)
        num_tokens = prefilled.context.num_tokens
        return Reading(prefilled, Basis(newest_frame_s=0.0), (), (), context_tokens=num_tokens)


def find_asker(session: Session, asker: SessionAsker, play: Play) -> Ask:
    """Find what a question seeks; otherwise, or if nothing is found, ask as `asker` does."""
    sought = {one.prompt.text: one.sought for one in play.asked}

    def ask(question: Question, evidence: Sequence[TimeSpan] = ()) -> GivenAnswer:
        wanted = sought[question.text]
        if wanted is None:
            return asker.ask(question, evidence)
        began = time.perf_counter()
        finding = Finding(
            {_STREAM: session},
            wanted.statement,
            within={_STREAM: (None, question.at_s)},
            effort=FIND_EFFORT,
        )
        for _ in finding:
            pass
        spans = finding.spans
        if not spans:
            return asker.ask(question, evidence)
        return GivenAnswer(
            wanted.answer(spans),
            first_token_ms=1000 * (time.perf_counter() - began),
            seen_s=tuple((span.from_s, span.to_s, span.probability) for span in spans),
        )

    return ask


def _context(stream: AnswerStream) -> list[list[int]]:
    """Return by layer the blocks that were read, also those whose visual tokens were reread."""
    recent, found = set(stream.recent_ids), {b for blocks in stream.retrieved for b in blocks}
    again = [e.block_id for e in stream.evidence if e.block_id not in recent | found]
    return [[*blocks, *recent, *again] for blocks in stream.retrieved]


def _given(answer: Answer) -> GivenAnswer:
    return GivenAnswer(
        answer.text,
        newest_frame_s=answer.newest_frame_s,
        first_token_ms=answer.timings_ms.ttft,
        context_tokens=answer.context_tokens,
        is_cut=answer.truncated,
        seen_s=tuple(sorted((e.start_s, e.end_s, e.score) for e in answer.evidence)),
        cited_s=tuple((one.from_s, one.to_s, one.share) for one in answer.spans),
    )
