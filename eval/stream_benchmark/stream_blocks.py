"""StreamBlocks: streams of an exam in, the KV blocks that the policies read out, on disk."""

import shutil
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from encoders import Frame
from eval.run.peak_memory import PeakMemory, resident_bytes
from eval.run.record_file import RecordFile
from eval.stream_benchmark.block_choice import spread_to_the_ends
from eval.stream_benchmark.exam import ExamStream
from eval.stream_benchmark.policy import (
    LAST_FRAMES,
    Policy,
    asked_policy,
    context_frames,
    engine_config,
    written_policy,
)
from eval.stream_benchmark.shared_vision import SharedVision
from eval.stream_benchmark.stream_records import records_of
from eval.stream_world import Renderer
from memory import MemoryConfig
from vstream import Session, VideoLLM, VStreamConfig, open_session
from vstream.engine import EngineConfig

_BATCH_FRAMES = 64


@dataclass(frozen=True)
class Ingest:
    """What it took to make the blocks of one stream by themselves; `num_bytes` of their file.

    `num_dropped` of the `num_frames` given are in no block.
    """

    blocks: str
    num_blocks: int
    num_frames: int
    num_dropped: int
    seconds: float
    num_bytes: int


class StreamBlocks:
    """The blocks of a run. Policies that encode alike and keep alike share them."""

    def __init__(
        self, run: Path, model: VideoLLM, config: VStreamConfig, renderer: Renderer
    ) -> None:
        """`run` is the run's directory."""
        self.store = run / "blocks"
        self._run = run
        self._model = model
        self._config = config
        self._renderer = renderer
        self._at_first_bytes = resident_bytes()

    def peak_memory(self) -> PeakMemory:
        """Of one policy that is asked, whatever was done before in this process."""
        return PeakMemory(self._model.decoder.device, self._at_first_bytes)

    def play(
        self, stream: ExamStream, policies: Sequence[Policy], advance: Callable[[int], None]
    ) -> None:
        """Make the blocks that are missing, the frames rendered and seen once for all of them.

        Blocks that a killed run left unfinished are made anew: a session that goes on after stored
        blocks would see its window as the codec keeps it, and so encode a little differently.
        """
        missing = self.missing(stream, policies)
        if not missing:
            return
        vision = SharedVision(
            self._model.family, EngineConfig().chunk_frames // self._model.family.frames_per_block
        )
        model = replace(self._model, family=vision.family)
        with ExitStack() as opened:
            sessions: dict[str, Session] = {}
            for name, policy in missing.items():
                shutil.rmtree(self.store / name, ignore_errors=True)
                config = self._configured(policy, is_kept=True)
                written = written_policy(policy, self._model)
                session = open_session(config, model, name, written)
                sessions[name] = opened.enter_context(session)
            for start in range(0, stream.length_s, _BATCH_FRAMES):
                end = min(start + _BATCH_FRAMES, stream.length_s)
                frames = self.frames(stream, range(start, end))
                for session in sessions.values():
                    session.push(frames)
                vision.forget()
                advance(len(frames))
            ingests = [_ingest(name, stream, session, vision) for name, session in sessions.items()]
        for ingest in ingests:  # now that their files are closed
            self._file(stream).append(asdict(ingest))

    def missing(self, stream: ExamStream, policies: Sequence[Policy]) -> dict[str, Policy]:
        """The sets of blocks that are not complete, each with a policy that reads it."""
        names = {self._name(stream, policy): policy for policy in policies if policy.has_memory}
        made = self._ingests(stream)
        return {
            name: policy
            for name, policy in names.items()
            if name not in made or not (self.store / name).is_dir()
        }

    def ingest(self, stream: ExamStream, policy: Policy) -> Ingest | None:
        """What it took to make the stream's blocks; None if they are not there."""
        return self._ingests(stream).get(self._name(stream, policy))

    def open(self, stream: ExamStream, policy: Policy) -> Session:
        """A session over the stream's blocks that answers as the policy says."""
        config = self._configured(policy, is_kept=True)
        written = written_policy(policy, self._model)
        session = open_session(config, self._model, self._name(stream, policy), written)
        asked = asked_policy(policy, self._model, stream.length_s)
        return Session(self._model, session.memory, asked, config.engine)

    def open_empty(self, policy: Policy) -> Session:
        """A session that has seen nothing and will be forgotten."""
        config = self._configured(policy, is_kept=False)
        return open_session(config, self._model, "unseen", asked_policy(policy, self._model, 0))

    def newest_blocks(self, policy: Policy) -> int | None:
        """How many a policy has to keep that reads none but the newest; None: it needs them all."""
        if policy.base not in ("window", "sinks", "captions"):
            return None
        return asked_policy(policy, self._model, 0).recent_blocks()

    def frames(self, stream: ExamStream, seconds: Sequence[int]) -> list[Frame]:
        """The frames of these seconds of the stream; each second has one."""
        moments = [stream.script.moments[second] for second in seconds]
        return [Frame(self._renderer.frame(m), float(m.time_s), 0.0) for m in moments]

    def few_seconds(self, policy: Policy, asked_s: int) -> Sequence[int]:
        """Whose frames a policy without memory sees."""
        so_far = range(asked_s + 1)
        if policy.base == "last4":
            return so_far[-LAST_FRAMES:]
        return spread_to_the_ends(so_far, context_frames(self._model))

    def _ingests(self, stream: ExamStream) -> dict[str, Ingest]:
        """By the name of the blocks; of blocks that were made twice, how it was the last time."""
        ingests = [Ingest(**document) for document in self._file(stream).documents]
        return {ingest.blocks: ingest for ingest in ingests}

    def _file(self, stream: ExamStream) -> RecordFile:
        """Read anew each time: another process may have made the blocks."""
        return records_of(self._run, stream.name, "ingests")

    def _name(self, stream: ExamStream, policy: Policy) -> str:
        return f"{stream.name}-{policy.blocks}"

    def _configured(self, policy: Policy, is_kept: bool) -> VStreamConfig:
        store = self.store.resolve().as_uri() if is_kept else "memory://"
        memory = MemoryConfig(store=store, codec=policy.codec)
        return self._config.model_copy(update={"engine": engine_config(policy), "memory": memory})


def _ingest(name: str, stream: ExamStream, session: Session, vision: SharedVision) -> Ingest:
    own = session.pushed_s - session.clock.seconds["vision"]
    return Ingest(
        blocks=name,
        num_blocks=session.memory.num_blocks,
        num_frames=stream.length_s,
        num_dropped=stream.length_s - session.memory.num_blocks * vision.family.frames_per_block,
        seconds=round(vision.seconds + own, 3),
        num_bytes=session.memory.stats().bytes_by_tier["file"],
    )
