"""StreamBenchmark: an exam and policies in, every stream played and asked about, outcomes out."""

from collections.abc import Sequence
from pathlib import Path

from eval.stream_benchmark.exam import ExamOptions, ExamStream
from eval.stream_benchmark.policy import Policy
from eval.stream_benchmark.stream_blocks import StreamBlocks
from eval.stream_benchmark.stream_outcome import StreamOutcome
from eval.stream_benchmark.stream_play import (
    BASELINES,
    WATCHED_POLICY,
    Advance,
    StreamPlay,
    StreamTask,
)
from eval.stream_benchmark.watches import standing_questions


class StreamBenchmark:
    """One run over a directory, stream by stream; each keeps its records by itself."""

    def __init__(
        self,
        options: ExamOptions,
        streams: Sequence[ExamStream],
        policies: Sequence[Policy],
        run: Path,
        blocks: StreamBlocks,
        has_watches: bool,
    ) -> None:
        self._streams = streams
        self._policies = policies
        self._run = run
        self._blocks = blocks
        self._is_watched = has_watches and WATCHED_POLICY in [policy.name for policy in policies]
        standing = standing_questions(streams) if self._is_watched else {}
        self.tasks = [
            StreamTask(stream, tuple(policies), tuple(standing.get(stream.name, ())), options)
            for stream in streams
        ]

    @property
    def num_steps(self) -> int:
        """How much there is left to do, in frames, questions and watches."""
        return sum(play.num_steps for play in self._plays())

    def run(self, advance: Advance) -> None:
        """Play every stream and ask what has not been asked yet, in this process."""
        for play in self._plays():
            play.run(advance)

    def outcomes(self) -> list[StreamOutcome]:
        """All that is on record, of each policy and then of the baselines, stream by stream."""
        plays = self._plays()
        return [
            self._outcome(name, play)
            for name in [*(policy.name for policy in self._policies), *BASELINES]
            for play in plays
        ]

    def _plays(self) -> list[StreamPlay]:
        """Made anew, for other processes may have added to the records."""
        return [StreamPlay(task, self._run, self._blocks) for task in self.tasks]

    def _outcome(self, name: str, play: StreamPlay) -> StreamOutcome:
        policies = {policy.name: policy for policy in self._policies}
        stream = play.stream
        policy = policies.get(name)
        ingest = self._blocks.ingest(stream, policy) if policy and policy.has_memory else None
        is_watched = self._is_watched and name == WATCHED_POLICY
        return StreamOutcome(
            name,
            stream,
            tuple(play.records.answered(name)[: len(stream.questions)]),
            ingest,
            play.records.asking(name),
            tuple(play.records.watched()) if is_watched else None,
            self._blocks.newest_blocks(policy) if policy else None,
        )
