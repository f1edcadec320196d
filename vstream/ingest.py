"""IngestWorker: reads frames from a source, samples them and pushes them into a session."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from encoders import Frame, FrameSampler
from memory import KVMemory, StoreAwayError
from vstream.errors import SourceError
from vstream.models.video_llm import VideoLLM
from vstream.sources.address import SourceKind, parse_address
from vstream.sources.config import SourceConfig, Speed
from vstream.sources.frame_source import FrameSource
from vstream.sources.live_decoder import EARLY
from vstream.sources.privacy_mask import PrivacyMask
from vstream.sources.source_process import open_apart
from vstream.sources.status import SourceStatus

OpenSource = Callable[[float, Callable[[float], bool]], FrameSource]
"""Opens a live source, given `start_s` and `wants` as `open_source` takes them."""

_RETRY_S = 0.5


@dataclass(frozen=True)
class SeenFrame:
    """The times of a sampled frame, which is seen once the blocks up to it are in the memory."""

    stream_s: float
    captured_at: float


@dataclass(frozen=True)
class IngestProgress:
    """What the worker has done so far."""

    frames_seen: int
    """Frames decoded from the source; for a file, a few more than were looked at."""
    frames_encoded: int
    """Frames in KV blocks of this run."""
    frames_duplicate: int
    """Sampled frames that were skipped because they look like the last one."""
    frames_lost: int
    """Frames dropped or damaged: what a slow or broken pipeline cost."""
    stream_s: float
    """Stream time of the newest frame looked at."""


class Watcher(Protocol):
    """What a worker needs of a Session."""

    model: VideoLLM
    memory: KVMemory
    chunk_blocks: int

    def push_ahead(self, frames: Sequence[Frame], stop: threading.Event | None = None) -> bool: ...

    def catch_up(self) -> None: ...

    def fulfil(self, stop: threading.Event | None = None) -> None: ...

    def discard_pending(self) -> None: ...


class IngestWorker:
    """Reads one source into one session, in the calling thread or in one of its own.

    A file is read without loss, in whole chunks; of a live source the newest frames are taken, all
    that are waiting at once. The worker resumes after what the session's memory already holds: a
    file that has ended is not read again, and the stream time of a live source has followed the
    wall clock while nobody watched.
    """

    waited_s = 0.0
    """Seconds spent waiting for the source, when it had no frame ready."""
    _num_pushed = 0
    _first_frame_at: float | None = None
    _thread: threading.Thread | None = None
    _failure: BaseException | None = None

    def __init__(
        self,
        session: Watcher,
        source: str | OpenSource,
        config: SourceConfig,
        *,
        from_s: float = 0.0,
        until_s: float | None = None,
        speed: Speed = "max",
        loop: bool = False,
        keep_trying: bool = False,
        mask: PrivacyMask | None = None,
        permit: Callable[[str], None] | None = None,
        on_frame: Callable[[SeenFrame], None] = lambda frame: None,
        on_seen: Callable[[Frame], None] = lambda frame: None,
    ) -> None:
        """`source` is an address, or a function that opens a live source, given the stream time to
        continue from and a function that says whether a frame is wanted; `mask` and `permit` are
        then its own business.

        `from_s` skips what a file shows before; `until_s` ends at that stream time; the other
        options are those of `open_source`. `on_frame` is called in the ingesting thread for each
        sampled frame, in order, once the session has seen it, also for frames like the last, which
        are not encoded. `on_seen` is called there with each frame before the session sees it, and
        may `flush`. What they raise ends the ingestion. Opens the source: raises SourceError for a
        file or address that cannot be read.
        """
        self._session, self._until_s, self._loop = session, until_s, loop
        self._on_frame, self._on_seen = on_frame, on_seen
        self._sampled: list[SeenFrame] = []
        self._batch: list[Frame] = []
        self._batch_frames = session.chunk_blocks * session.model.family.frames_per_block
        session.discard_pending()
        with session.model.turn:
            self._newest_s, has_blocks = session.memory.newest_s, bool(session.memory.num_readable)
        self._encoded_to_s = self._newest_s if has_blocks else None
        is_file = isinstance(source, str) and parse_address(source).kind is SourceKind.FILE
        # A file is read again from the last encoded frame, to compare the next one with it.
        after_s = None if is_file and speed == "max" else self._encoded_to_s
        self._sampler = _sampler(session.model.sample_fps, config, after_s, is_file)
        self._first_block = session.memory.num_blocks
        self._stop = threading.Event()
        start_s = max(from_s, self._newest_s) if is_file else _now_s(session.memory)
        if isinstance(source, str):
            self.source = open_apart(
                source,
                config,
                start_s=start_s,
                wants=self._sampler.wants,
                speed=speed,
                loop=loop,
                keep_trying=keep_trying,
                sample_fps=session.model.sample_fps,
                mask=mask,
                permit=permit or (lambda url: None),
            )
        elif mask is not None or permit is not None:
            raise ValueError("ingest: mask and permit go to what opens the source, not here")
        else:
            self.source = source(start_s, self._sampler.wants)

    def __repr__(self) -> str:
        state = "running" if self.is_running else "not running"
        if self._failure is not None:
            state = f"failed: {self._failure}"
        done = self.progress
        encoded = f"{done.frames_encoded} frames encoded, up to {done.stream_s:g} s"
        return f"IngestWorker({self.source_name}, {state}, {encoded})"

    @property
    def source_name(self) -> str:
        """The source's address without its secrets."""
        return self.source.name

    @property
    def is_live(self) -> bool:
        return self.source.is_live

    @property
    def status(self) -> SourceStatus:
        return self.source.status

    @property
    def progress(self) -> IngestProgress:
        blocks = self._session.memory.num_blocks - self._first_block
        counts = self.source.status.counts
        return IngestProgress(
            frames_seen=counts.frames_received,
            frames_encoded=blocks * self._session.model.family.frames_per_block,
            frames_duplicate=self._sampler.num_duplicates,
            frames_lost=counts.frames_stale + counts.frames_corrupt,
            stream_s=self._newest_s,
        )

    def run(self) -> None:
        """Ingest until the source ends, `until_s` is reached or `stop` is called. While a store is
        away and the blocks waiting for it reach their bound, ingestion waits, and a live source
        drops frames. Raises SourceError when the source fails for good, and StoreError.
        """
        memory = self._session.memory
        if memory.note.get("ended_at_block") == memory.num_blocks and not self._loop:
            return
        try:
            self._watch()
        except SourceError:
            self.flush()  # the session sees what came before
            raise
        except BaseException:
            with suppress(Exception):  # the first error matters
                self._session.catch_up()
            raise
        if not self.source.is_live:
            self._note_the_end()

    def _watch(self) -> None:
        with self.source:
            for frame in self._frames():
                if self._until_s is not None and frame.stream_s > self._until_s:
                    self._stop.set()
                    break
                self._on_seen(frame)
                self._newest_s = frame.stream_s
                self._first_frame_at = self._first_frame_at or time.monotonic()
                self._sampled.append(SeenFrame(frame.stream_s, frame.captured_at))
                is_new = self._encoded_to_s is None or frame.stream_s > self._encoded_to_s
                if self._sampler.keep(frame) and is_new:
                    self._batch.append(frame)
                if not self.source.has_waiting or len(self._batch) >= self._batch_frames:
                    self._go_on()
                if not self.source.has_waiting:
                    self.flush()
            self.flush()

    def _frames(self) -> Iterator[Frame]:
        """Yield the source's frames and add up the time spent waiting for them."""
        frames = iter(self.source)
        while True:
            began = time.perf_counter()
            frame = next(frames, None)
            self.waited_s += time.perf_counter() - began
            if frame is None:
                return
            yield frame

    def flush(self) -> None:
        """Make the session see all frames read so far. Call it from the ingesting thread."""
        self._session.push_ahead(self._batch, self._stop)
        self._session.catch_up()
        self._fulfil()
        self._batch.clear()
        self._report(len(self._sampled))

    def _go_on(self) -> None:
        """Like `flush`, but wait only for the chunk before: more frames may be waiting by now."""
        has_begun = self._session.push_ahead(self._batch, self._stop)
        self._batch.clear()
        self._fulfil()
        if has_begun:
            num_before, self._num_pushed = self._num_pushed, len(self._sampled)
            self._report(num_before)

    def _fulfil(self) -> None:
        """Wait for what the policy wishes of a file; a live source has no time for that."""
        if not self.source.is_live:
            self._session.fulfil(self._stop)

    def _report(self, num_frames: int) -> None:
        seen, self._sampled = self._sampled[:num_frames], self._sampled[num_frames:]
        self._num_pushed = max(0, self._num_pushed - num_frames)
        for frame in seen:
            self._on_frame(frame)

    def start(self) -> None:
        """Run in a new thread; `join` waits for its end."""
        self._thread = threading.Thread(target=self._run_caught, name="ingest", daemon=True)
        self._thread.start()

    @property
    def is_running(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    @property
    def watched_s(self) -> float | None:
        """Wall-clock seconds since the first frame of this run; None before it."""
        return None if self._first_frame_at is None else time.monotonic() - self._first_frame_at

    @property
    def has_failed(self) -> bool:
        """Whether `join` will raise an error."""
        return self._failure is not None

    def join(self) -> None:
        """Wait for the thread. Raises what made it fail."""
        assert self._thread is not None, "join before start"
        self._thread.join()
        if self._failure is not None:
            raise self._failure

    def _run_caught(self) -> None:
        try:
            self.run()
        except BaseException as failure:  # noqa: BLE001  `join` raises it in the caller's thread
            self._failure = failure

    def stop(self) -> None:
        """Ask `run` to return; safe from any thread."""
        self._stop.set()
        self.source.close()

    def keep_next(self) -> None:
        """Encode the next frame even if like the last, which was forgotten. From any thread."""
        self._sampler.keep_next()

    def _note_the_end(self) -> None:
        """Note that the source has ended, once the store is reachable."""
        memory = self._session.memory
        while not self._stop.is_set():
            with suppress(StoreAwayError):
                memory.require_there()
                with self._session.model.turn:
                    memory.set_note({**memory.note, "ended_at_block": memory.num_blocks})
                return
            self._stop.wait(_RETRY_S)


def _sampler(
    sample_fps: float, config: SourceConfig, after_s: float | None, is_file: bool
) -> FrameSampler:
    early = 0.0 if is_file else EARLY
    return FrameSampler(
        sample_fps, config.dedup_threshold, config.max_gap_s, after_s=after_s, early=early
    )


def _now_s(memory: KVMemory) -> float:
    """Return the stream time now, if the stream followed the wall clock since its last block."""
    kept = memory.visible(None)
    if not kept:
        return 0.0
    last = memory.info(kept[-1])
    return last.end_s + max(0.0, time.time() - last.captured_at)
