"""StreamPlay: one stream of an exam and policies in, every question asked under each, on record.

A stream is played first and asked about afterwards: a question sees the blocks that ended by its
asking time and no others, so its answer is the one it would have had while the stream played.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

from eval.stream_benchmark.answerer import (
    Answerer,
    CaptionAnswerer,
    FewFramesAnswerer,
    LanguageAnswerer,
    MajorityAnswerer,
    MemoryAnswerer,
)
from eval.stream_benchmark.caption_memory import CaptionMemory
from eval.stream_benchmark.exam import ExamOptions, ExamStream, majority_texts
from eval.stream_benchmark.policy import Policy, parse_policy
from eval.stream_benchmark.record import Record
from eval.stream_benchmark.stream_blocks import StreamBlocks
from eval.stream_benchmark.stream_records import Asking, StreamRecords
from eval.stream_benchmark.watches import watch
from eval.stream_world.standing import StandingQuestion

BASELINES = ("majority", "language")
WATCHED_POLICY = "default"
Opening = Callable[[], AbstractContextManager[Answerer]]
Advance = Callable[[str, int], None]
"""Told what is being done, and how many more frames, questions or watches are done with."""


@dataclass(frozen=True)
class StreamTask:
    """What is to be done with one stream; plain data, which can be sent to another process."""

    stream: ExamStream
    policies: tuple[Policy, ...]
    standing: tuple[StandingQuestion, ...]
    """Watched under WATCHED_POLICY."""
    exam: ExamOptions
    """What the majority answers are found by."""


class StreamPlay:
    """One stream of a run: what is on record already is not done again."""

    def __init__(self, task: StreamTask, run: Path, blocks: StreamBlocks) -> None:
        self._task = task
        self.stream = task.stream
        self._blocks = blocks
        names = [*(policy.name for policy in task.policies), *BASELINES]
        self.records = StreamRecords(run, task.stream.name, names, WATCHED_POLICY)

    @property
    def num_steps(self) -> int:
        """How much there is left to do, in frames, questions and watches."""
        steps = sum(len(self._unasked(name)) for name in self.records.answers)
        steps += sum(len(self._unwatched(policy)) for policy in self._task.policies)
        if self._blocks.missing(self.stream, self._waiting()):
            steps += self.stream.length_s
        return steps

    def run(self, advance: Advance) -> None:
        """Play the stream and ask what has not been asked yet."""
        waiting = self._waiting()
        self._blocks.play(self.stream, waiting, lambda frames: advance("playing", frames))
        for policy in waiting:
            self._ask(policy.name, partial(self._open, policy), advance)
            self._watch(policy, advance)
        for name, opening in (("majority", self._open_majority), ("language", self._open_language)):
            self._ask(name, opening, advance)

    def _waiting(self) -> list[Policy]:
        """The policies that are not done with the stream."""
        return [
            policy
            for policy in self._task.policies
            if self._unasked(policy.name) or self._unwatched(policy)
        ]

    def _unasked(self, name: str) -> range:
        """The stream's questions, by number, that are not on record; answers come in order."""
        return range(len(self.records.answers[name].documents), len(self.stream.questions))

    def _unwatched(self, policy: Policy) -> Sequence[StandingQuestion]:
        if policy.name != WATCHED_POLICY:
            return ()
        return self._task.standing[len(self.records.watches.documents) :]

    @contextmanager
    def _open(self, policy: Policy) -> Iterator[Answerer]:
        if not policy.has_memory:
            yield FewFramesAnswerer(self.stream, policy, self._blocks)
            return
        with self._blocks.open(self.stream, policy) as session:
            if policy.base == "captions":
                captions = CaptionMemory()
                captions.tell(session, range(self.stream.length_s))
                yield CaptionAnswerer(session, captions)
            else:
                yield MemoryAnswerer(session, policy)

    @contextmanager
    def _open_majority(self) -> Iterator[Answerer]:
        yield MajorityAnswerer(majority_texts(self._task.exam))

    @contextmanager
    def _open_language(self) -> Iterator[Answerer]:
        with self._blocks.open_empty(parse_policy("default")) as session:
            yield LanguageAnswerer(session)

    def _ask(self, name: str, opening: Opening, advance: Advance) -> None:
        unasked = self._unasked(name)
        if not unasked:
            return
        with self._blocks.peak_memory() as peak, opening() as answerer:
            for number in unasked:
                reply = answerer.reply(self.stream.questions[number].question)
                record = Record.of(self.stream, number, reply)
                self.records.answers[name].append(record.to_json())
                advance(f"asking {name}", 1)
            asking = Asking(name, None, peak.of)
            if answerer.captions is not None:
                told_s = round(answerer.captions.seconds, 3)
                asking = replace(asking, text_bytes=answerer.captions.num_bytes, text_s=told_s)
        asking = replace(asking, peak_bytes=peak.num_bytes)
        self.records.askings.append(asdict(asking))

    def _watch(self, policy: Policy, advance: Advance) -> None:
        unwatched = self._unwatched(policy)
        if not unwatched:
            return
        with self._blocks.open(self.stream, policy) as session:
            for standing in unwatched:
                self.records.watches.append(asdict(watch(session, self.stream, standing)))
                advance("watching", 1)
