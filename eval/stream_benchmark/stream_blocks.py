"""StreamBlocks: streams of an exam in, the KV blocks that the policies read out, on disk."""

import shutil
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace

from encoders import Frame
from eval.stream_benchmark.exam import ExamStream
from eval.stream_benchmark.policy import (
    Policy,
    answering_config,
    default_settings,
    encoding_config,
)
from eval.stream_benchmark.run_directory import RunDirectory
from eval.stream_benchmark.shared_vision import SharedVision
from eval.stream_world import Renderer
from memory import MemoryConfig
from vstream import Session, VideoLLM, VStreamConfig, open_session
from vstream.engine import EngineConfig

_BATCH_FRAMES = 64


@dataclass(frozen=True)
class Ingest:
    """What it took to make the blocks of one stream by themselves; `num_bytes` of their file."""

    blocks: str
    num_frames: int
    seconds: float
    num_bytes: int


class StreamBlocks:
    """The blocks of a run. Policies that encode alike and keep alike share them."""

    def __init__(
        self,
        directory: RunDirectory,
        model: VideoLLM,
        config: VStreamConfig,
        renderer: Renderer,
    ) -> None:
        self._directory = directory
        self._model = model
        self._config = config
        self._renderer = renderer
        self._file = directory.ingests()
        self._ingests = {
            ingest.blocks: ingest for ingest in (Ingest(**d) for d in self._file.documents)
        }

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
        vision = SharedVision(self._model.family, default_settings(self._model).chunk_blocks)
        model = replace(self._model, family=vision)
        with ExitStack() as opened:
            sessions: dict[str, Session] = {}
            for name, policy in missing.items():
                shutil.rmtree(self._directory.blocks / name, ignore_errors=True)
                engine = encoding_config(policy, self._model)
                config = self._configured(engine, policy, is_kept=True)
                sessions[name] = opened.enter_context(open_session(config, model, name))
            for start in range(0, stream.length_s, _BATCH_FRAMES):
                frames = self.frames(stream, start, min(start + _BATCH_FRAMES, stream.length_s))
                for session in sessions.values():
                    session.push(frames)
                vision.forget()
                advance(len(frames))
            ingests = [_ingest(name, stream, session, vision) for name, session in sessions.items()]
        for ingest in ingests:  # now that their files are closed
            self._file.append(asdict(ingest))
            self._ingests[ingest.blocks] = ingest

    def missing(self, stream: ExamStream, policies: Sequence[Policy]) -> dict[str, Policy]:
        """The sets of blocks that are not complete, each with a policy that reads it."""
        names = {self._name(stream, policy): policy for policy in policies if policy.has_memory}
        return {
            name: policy
            for name, policy in names.items()
            if name not in self._ingests or not (self._directory.blocks / name).is_dir()
        }

    def ingest(self, stream: ExamStream, policy: Policy) -> Ingest:
        """What it took to make the stream's blocks."""
        return self._ingests[self._name(stream, policy)]

    def open(self, stream: ExamStream, policy: Policy) -> Session:
        """A session over the stream's blocks that answers as the policy says."""
        engine = answering_config(policy, self._model, stream.length_s)
        config = self._configured(engine, policy, is_kept=True)
        return open_session(config, self._model, self._name(stream, policy))

    def open_empty(self, policy: Policy) -> Session:
        """A session that has seen nothing and will be forgotten."""
        engine = answering_config(policy, self._model, 0)
        config = self._configured(engine, policy, is_kept=False)
        return open_session(config, self._model, "unseen")

    def frames(self, stream: ExamStream, first: int, end: int) -> list[Frame]:
        """Frames [first, end) of the stream, one for each second."""
        return [
            Frame(self._renderer.frame(moment), float(moment.time_s), 0.0)
            for moment in stream.script.moments[first:end]
        ]

    def _name(self, stream: ExamStream, policy: Policy) -> str:
        return f"{stream.name}-{policy.blocks}"

    def _configured(self, engine: EngineConfig, policy: Policy, is_kept: bool) -> VStreamConfig:
        store = self._directory.blocks.resolve().as_uri() if is_kept else "memory://"
        memory = MemoryConfig(store=store, codec=policy.codec)
        return self._config.model_copy(update={"engine": engine, "memory": memory})


def _ingest(name: str, stream: ExamStream, session: Session, vision: SharedVision) -> Ingest:
    own = sum(spent for stage, spent in session.clock.seconds.items() if stage != "vision")
    return Ingest(
        blocks=name,
        num_frames=stream.length_s,
        seconds=round(vision.seconds + own, 3),
        num_bytes=session.memory.stats().bytes_by_tier["file"],
    )
