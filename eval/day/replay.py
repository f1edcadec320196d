"""Replay: the day's blocks into one memory, which is asked and watched as if it were that day.

The memory takes block after block in stream order and encodes each in its own codec. At the end of
every hour what it takes up is noted; at the moments of the exam it is asked about what it still
has; after the first hour and at the end it is timed.
"""

import statistics
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import psutil

from eval.day.budget_watch import BudgetWatch
from eval.day.day_exam import AGES_S, asking_moments, timed_questions
from eval.day.day_memory import DayMemory
from eval.day.encoded_day import DROPPING, STREAM_ID
from eval.stream_benchmark.answerer import Answerer, CaptionAnswerer, MemoryAnswerer
from eval.stream_benchmark.block_choice import BlockTimes
from eval.stream_benchmark.caption_memory import CaptionMemory
from eval.stream_benchmark.exam import ExamStream
from eval.stream_benchmark.policy import asked_policy, engine_config, parse_policy
from eval.stream_benchmark.record import Record
from memory import BlockRecord
from vstream import Session, VideoLLM, VStreamConfig, open_session

HOUR_S = 3600


@dataclass(frozen=True)
class Sample:
    """What there is at one moment of the stream."""

    at_s: float
    rss_bytes: int
    blocks: int
    blocks_by_codec: dict[str, int]
    file_bytes: int
    host_bytes: int
    index_bytes: int


@dataclass(frozen=True)
class Replayed:
    """What came of one memory; everything is JSON-able.

    `answers` are records by policy. `held` is for every question the share of its evidence that
    was still kept when it was asked. `first_tokens_ms` are by policy and by moment of the stream.
    """

    name: str
    num_blocks: int
    num_tokens: int
    budget_bytes: int | None
    file_budget_bytes: int | None
    host_budget_bytes: int
    most_file_bytes: int
    most_host_bytes: int
    peaks: dict[str, int]
    samples: list[dict[str, Any]]
    ageing: dict[str, int]
    kept_by_age: dict[str, float | None]
    answers: dict[str, list[dict[str, Any]]]
    held: list[float]
    first_tokens_ms: dict[str, dict[str, list[float]]]
    caption_bytes: int = 0


class Replay:
    """One run of the day through one memory."""

    def __init__(self, memory: DayMemory, exam: ExamStream, model: VideoLLM) -> None:
        self._memory = memory
        self._exam = exam
        self._model = model
        self._timed_at_s = sorted({min(HOUR_S, exam.length_s) - 1, exam.length_s - 1})
        self._asked_at_s = frozenset(asking_moments(exam.length_s))
        self._most = {"file": 0, "host": 0}
        self._captions = CaptionMemory()
        self._num_tokens = 0
        self._samples: list[Sample] = []
        self._answers: dict[str, list[Record]] = {name: [] for name in memory.policies}
        self._held: list[float] = []
        self._first_tokens: dict[str, dict[str, list[float]]] = {n: {} for n in memory.policies}

    def run(
        self,
        records: Iterable[BlockRecord],
        config: VStreamConfig,
        advance: Callable[[int], None],
    ) -> Replayed:
        """Play all `records`; `advance` is told how many were taken."""
        config = config.model_copy(update={"policy_set": DROPPING, "memory": self._memory.config})
        with (
            open_session(config, self._model, STREAM_ID) as session,
            BudgetWatch(self._memory.folder) as watch,
        ):
            readers = self._readers(session)
            for record in records:
                session.memory.take(record)
                self._num_tokens += record.head.info.num_tokens
                self._note(session)
                second = round(record.head.info.end_s)
                if (second + 1) % HOUR_S == 0 or second + 1 == self._exam.length_s:
                    self._samples.append(_sample(session, second + 1))
                self._caption(readers, second)
                with watch.quiet:
                    if second in self._timed_at_s:
                        self._time(readers, second)
                    if second in self._asked_at_s:
                        self._ask(readers, second)
                advance(1)
            watch.look()
            return self._replayed(session, watch)

    def _readers(self, session: Session) -> dict[str, tuple[Session, str]]:
        """By name in the report, a session over the same memory and the policy it follows."""
        readers = {}
        for name, policy in self._memory.policies.items():
            parsed = parse_policy(policy)
            asked = asked_policy(parsed, self._model, self._exam.length_s)
            config = engine_config(parsed)
            readers[name] = (Session(self._model, session.memory, asked, config), policy)
        return readers

    def _answerer(self, session: Session, policy: str) -> Answerer:
        parsed = parse_policy(policy)
        if parsed.base == "captions":
            return CaptionAnswerer(session, self._captions)
        return MemoryAnswerer(session, parsed)

    def _caption(self, readers: Mapping[str, tuple[Session, str]], second: int) -> None:
        for session, policy in readers.values():
            if parse_policy(policy).base == "captions":
                self._captions.tell(session, [second])

    def _note(self, session: Session) -> None:
        for tier, num_bytes in session.memory.bytes_by_tier().items():
            self._most[tier] = max(self._most[tier], num_bytes)

    def _time(self, readers: Mapping[str, tuple[Session, str]], second: int) -> None:
        questions = timed_questions(self._exam.script, second)
        for name, (session, policy) in readers.items():
            answerer = self._answerer(session, policy)
            answerer.reply(questions[0])  # not counted: the first question pays for buffers
            replies = [answerer.reply(question) for question in questions]
            times = [reply.ttft_ms for reply in replies if reply.ttft_ms is not None]
            self._first_tokens[name][str(second + 1)] = times

    def _ask(self, readers: Mapping[str, tuple[Session, str]], second: int) -> None:
        numbers = [
            number
            for number, drawn in enumerate(self._exam.questions)
            if drawn.question.asked_s == second
        ]
        session, _ = next(iter(readers.values()))
        times = BlockTimes.of(session.memory)
        for number in numbers:
            evidence = self._exam.questions[number].question.evidence
            self._held.append(statistics.fmean(bool(times.holding(span)) for span in evidence))
        for name, (session, policy) in readers.items():
            answerer = self._answerer(session, policy)
            for number in numbers:
                reply = answerer.reply(self._exam.questions[number].question)
                self._answers[name].append(Record.of(self._exam, number, reply))

    def _replayed(self, session: Session, watch: BudgetWatch) -> Replayed:
        config = self._memory.config
        return Replayed(
            name=self._memory.name,
            num_blocks=session.memory.num_blocks,
            num_tokens=self._num_tokens,
            budget_bytes=self._memory.budget_bytes,
            file_budget_bytes=config.file_bytes,
            host_budget_bytes=config.host_bytes,
            most_file_bytes=self._most["file"],
            most_host_bytes=self._most["host"],
            peaks=asdict(watch.peaks),
            samples=[asdict(sample) for sample in self._samples],
            ageing=asdict(session.memory.stats().ageing),
            kept_by_age=_kept_by_age(session, self._exam.length_s),
            answers={name: [r.to_json() for r in found] for name, found in self._answers.items()},
            held=self._held,
            first_tokens_ms=self._first_tokens,
            caption_bytes=self._captions.num_bytes,
        )


def _sample(session: Session, at_s: float) -> Sample:
    stats = session.memory.stats()
    return Sample(
        at_s=at_s,
        rss_bytes=psutil.Process().memory_info().rss,
        blocks=stats.blocks,
        blocks_by_codec=stats.blocks_by_codec,
        file_bytes=stats.bytes_by_tier["file"],
        host_bytes=stats.bytes_by_tier["host"],
        index_bytes=stats.index_bytes,
    )


def _kept_by_age(session: Session, length_s: int) -> dict[str, float | None]:
    """The share of the frames of each age at the end that still has its block; a frame a second."""
    kept_s = [session.memory.info(i).end_s for i in session.memory.visible(None)]
    shares: dict[str, float | None] = {}
    youngest_s = 0.0
    for age, end_s in AGES_S.items():
        oldest_s = min(end_s, length_s)
        num = sum(youngest_s <= length_s - 1 - at_s < oldest_s for at_s in kept_s)
        shares[age] = num / (oldest_s - youngest_s) if oldest_s > youngest_s else None
        youngest_s = end_s
    return shares
