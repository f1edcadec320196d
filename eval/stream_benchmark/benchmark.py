"""StreamBenchmark: an exam and policies in, every question asked under each of them, reports out.

A stream is played first and asked about afterwards: a question sees the blocks that ended by its
asking time and no others, so its answer is the one it would have had while the stream played.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import cached_property

from eval.stream_benchmark.answerer import (
    Answerer,
    CaptionAnswerer,
    LanguageAnswerer,
    MajorityAnswerer,
    MemoryAnswerer,
    NewestFramesAnswerer,
)
from eval.stream_benchmark.caption_memory import CaptionMemory
from eval.stream_benchmark.exam import ExamOptions, ExamStream, majority_texts
from eval.stream_benchmark.figures import figures
from eval.stream_benchmark.policy import Policy, parse_policy
from eval.stream_benchmark.record import Record
from eval.stream_benchmark.report import PolicyReport
from eval.stream_benchmark.run_directory import RunDirectory
from eval.stream_benchmark.stream_blocks import StreamBlocks
from eval.stream_benchmark.watches import WatchFigures, WatchRecord, standing_questions, watch

BASELINES = ("majority", "language")
WATCHED_POLICY = "default"
Advance = Callable[[str, int], None]
"""Told what is being done, and how many more frames, questions or watches are done with."""


class StreamBenchmark:
    """One run: what is on record already is not done again."""

    def __init__(
        self,
        options: ExamOptions,
        streams: Sequence[ExamStream],
        policies: Sequence[Policy],
        directory: RunDirectory,
        blocks: StreamBlocks,
        has_watches: bool,
    ) -> None:
        self._options = options
        self._streams = streams
        self._policies = policies
        self._blocks = blocks
        names = [*(policy.name for policy in policies), *BASELINES]
        self._answers = {name: directory.answers(name) for name in names}
        self._watches = directory.watches(WATCHED_POLICY)
        is_watched = has_watches and WATCHED_POLICY in names
        self._standing = standing_questions(streams) if is_watched else {}

    @property
    def num_steps(self) -> int:
        """How much there is left to do, in frames, questions and watches."""
        steps = 0
        for stream in self._streams:
            steps += sum(len(self._unasked(stream, name)) for name in self._answers)
            steps += sum(len(self._unwatched(stream, policy)) for policy in self._policies)
            if self._blocks.missing(stream, self._waiting(stream)):
                steps += stream.length_s
        return steps

    def run(self, advance: Advance) -> None:
        """Play every stream and ask what has not been asked yet, stream by stream."""
        for stream in self._streams:
            waiting = self._waiting(stream)
            self._blocks.play(stream, waiting, lambda frames: advance("playing", frames))
            for policy in waiting:
                with self._open(stream, policy) as answerer:
                    self._ask(stream, policy.name, answerer, advance)
                self._watch(stream, policy, advance)
            self._ask(stream, "majority", MajorityAnswerer(self._majority_texts), advance)
            with self._blocks.open_empty(parse_policy("default")) as session:
                self._ask(stream, "language", LanguageAnswerer(session), advance)

    def reports(self) -> dict[str, PolicyReport]:
        """What came of each policy, then of the baselines."""
        reports = {
            name: PolicyReport(figures([Record.from_json(line) for line in file.documents]))
            for name, file in self._answers.items()
        }
        for policy in self._policies:
            reports[policy.name] = PolicyReport(
                reports[policy.name].figures,
                [self._blocks.ingest(stream, policy) for stream in self._streams]
                if policy.has_memory
                else [],
                self._watch_figures() if self._is_watched(policy) else None,
            )
        return reports

    def _waiting(self, stream: ExamStream) -> list[Policy]:
        """The policies that are not done with the stream."""
        return [
            policy
            for policy in self._policies
            if self._unasked(stream, policy.name) or self._unwatched(stream, policy)
        ]

    def _unasked(self, stream: ExamStream, name: str) -> range:
        """The stream's questions, by number, that are not on record; answers come in order."""
        return range(self._answers[name].num_of(stream.name), len(stream.questions))

    def _unwatched(self, stream: ExamStream, policy: Policy) -> range:
        if not self._is_watched(policy):
            return range(0)
        return range(self._watches.num_of(stream.name), len(self._standing[stream.name]))

    def _is_watched(self, policy: Policy) -> bool:
        return policy.name == WATCHED_POLICY and bool(self._standing)

    @contextmanager
    def _open(self, stream: ExamStream, policy: Policy) -> Iterator[Answerer]:
        if not policy.has_memory:
            yield NewestFramesAnswerer(stream, policy, self._blocks)
            return
        with self._blocks.open(stream, policy) as session:
            if policy.base == "captions":
                captions = CaptionMemory()
                captions.tell(session, range(stream.length_s))
                yield CaptionAnswerer(session, captions)
            else:
                yield MemoryAnswerer(session, policy)

    def _ask(self, stream: ExamStream, name: str, answerer: Answerer, advance: Advance) -> None:
        for number in self._unasked(stream, name):
            reply = answerer.reply(stream.questions[number].question)
            self._answers[name].append(Record.of(stream, number, reply).to_json())
            advance(f"asking {name}", 1)

    def _watch(self, stream: ExamStream, policy: Policy, advance: Advance) -> None:
        unwatched = self._unwatched(stream, policy)
        if not unwatched:
            return
        with self._blocks.open(stream, policy) as session:
            for number in unwatched:
                standing = self._standing[stream.name][number]
                self._watches.append(asdict(watch(session, stream, standing)))
                advance("watching", 1)

    def _watch_figures(self) -> WatchFigures:
        return WatchFigures.of([WatchRecord(**line) for line in self._watches.documents])

    @cached_property
    def _majority_texts(self) -> dict[str, str]:
        return majority_texts(self._options)
