"""Session: one stream's state on one model: takes frames and answers questions."""

import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, wait
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from itertools import repeat
from os import PathLike, fspath

from torch import Tensor

from encoders import NO_PICTURE, EmbedsPictures, Frame, TextToken, thumbnail
from memory import BlockRecord, KVMemory, KVMemoryError, MemoryPolicy, StoreAwayError
from memory.closing import Closing
from memory.locks import Rank
from memory.policy_hooks import UNCHANGED, NewBlock, StateChange, Tokens, changed
from vstream.answer import QueryHandler
from vstream.answer_stream import AnswerStream
from vstream.device.free_memory import return_free_memory
from vstream.device.work import FairLock, Job, StageClock, WorkKind
from vstream.engine.config import EngineConfig
from vstream.engine.passes import Vision, Work
from vstream.engine.prefill import Chunk, block_of
from vstream.engine.question_prefill import BlocksByLayer
from vstream.engine.restored_prefill import restored_prefill
from vstream.errors import BusyError
from vstream.given_pictures import Picture, as_frames
from vstream.ingest import IngestWorker
from vstream.models.video_llm import VideoLLM
from vstream.question import Judgement, Question
from vstream.read_while_written import read_while_written
from vstream.sources.config import SourceConfig
from vstream.wishes import Wishes

_TRIM_BLOCKS = 256
"""How many blocks to encode before freed memory is returned to the system."""
_RETRY_S = 0.5


class Session(Closing):
    """Joins the write path (frames to KV blocks) and the read path (questions to answers). `push`
    and `push_ahead` belong to one thread; `ask` may be called from any other while frames are
    pushed. Asking never changes the memory.
    """

    stream_id = ""  # as `open_session` was told
    _watching: IngestWorker | None = None

    def __init__(
        self,
        model: VideoLLM,
        memory: KVMemory,
        policy: MemoryPolicy,
        config: EngineConfig,
        source_config: SourceConfig | None = None,
    ) -> None:
        """`memory` may hold the stream's past already: the session goes on after it.
        `source_config` is for what it is told to `watch`.
        """
        self.model = model
        self.memory = memory
        self.policy = policy
        self._hooks = [one for one in ("note", "wishes", "expired") if policy.has(one)]
        self.config = config
        self._source_config = source_config or SourceConfig()
        self.encoding = policy.encoding()
        chunk_frames = -(-config.chunk_frames // model.family.frames_per_block)
        self.chunk_blocks = min(chunk_frames, self.encoding.chunk_blocks or chunk_frames)
        """Most blocks in one call of the decoder."""
        self.clock = StageClock()
        self.token_dropper = policy.reducer()
        self._embed_picture = None
        if policy.wants_pictures() and isinstance(model.family, EmbedsPictures):
            self._embed_picture = model.family.embed_picture
        self._pending: list[Frame] = []
        self._pushing = FairLock(Rank.PUSHING)
        self._storing: Future[Job[None]] | None = None
        self._wall = StageClock()
        self._trimmed_at = memory.num_blocks
        self._open_prefill()
        self._queries = QueryHandler(model, memory, self.prefill.prefix, policy, config)
        self.questions = self._queries.questions
        self.begin_judging = self._queries.begin_judging
        self.begin_saying = self._queries.begin_saying
        self.begin_describing = self._queries.begin_describing
        self._wishes: Wishes | None = None
        if "wishes" in self._hooks:
            self._wishes = Wishes(policy, memory, model.scheduler, self.begin_describing)
            with model.turn:
                self._wishes.renew()

    def __repr__(self) -> str:
        return f"Session({self.memory!r}, policy={self.policy.name!r})"

    def watch(self, source: str | PathLike[str], until_s: float | None = None) -> IngestWorker:
        """Encode a file, stream or webcam in the background, to its end or `until_s` (stream time).
        The worker that is returned can `stop`; its `join` waits, and raises what made it fail.

        Raises SourceError for what cannot be read, BusyError while the session watches a source.
        """
        self._require_unwatched()
        worker = IngestWorker(self, fspath(source), self._source_config, until_s=until_s)
        worker.start()
        self._watching = worker
        return worker

    def push(self, frames: Picture | Iterable[Picture], at_s: float | None = None) -> int:
        """Encode `frames`, the next of the stream, into blocks; returns how many blocks were added.

        Pictures of the kinds that `as_frames` takes stand one sampling interval apart, from `at_s`
        on; None: after what was pushed before. Raises SourceError (FRAME_INVALID) for other kinds,
        BusyError while the session watches a source.

        What the memory policy wishes to know of them is known then, too. Frames that do not fill a
        block wait for the next call and are not visible to questions. If it fails, the frames from
        the failing chunk on are lost and the session goes on after the blocks that its memory
        holds.
        """
        self._require_unwatched()
        self.catch_up()
        step_s, before = 1 / self.model.sample_fps, self.memory.num_blocks
        if at_s is None:
            last_s = self._pending[-1].stream_s if self._pending else self.memory.newest_s
            at_s = last_s + step_s if self._pending or before else 0.0
        taken = as_frames(frames, at_s, step_s)
        together = max(1, len(taken))
        if self._wishes is not None:  # so that every clip has time to be described
            together = self.chunk_blocks * self.model.family.frames_per_block
        for first in range(0, len(taken), together):
            self.push_ahead(taken[first : first + together])
            self.catch_up()
            self.fulfil()
        return self.memory.num_blocks - before

    def push_text(self, text: str, at_s: float | None = None) -> int:
        """Like `push`, for a stream of text: its frames are the tokens of `text`, all of the
        stream's second `at_s`; None: each block comes a second after the one before it. Raises
        UnsupportedModelError for a model that watches pictures.
        """
        ids = self.model.family.token_ids(text)
        self.catch_up()
        size, waiting = self.model.family.frames_per_block, len(self._pending)
        first_s = self.memory.newest_s + 1 if self.memory.num_blocks else 0.0
        times = (first_s + (waiting + i) // size if at_s is None else at_s for i in range(len(ids)))
        now = time.time()
        return self.push([TextToken(NO_PICTURE, *one) for one in zip(times, repeat(now), ids)])

    def push_ahead(self, frames: Sequence[Frame], stop: threading.Event | None = None) -> bool:
        """Like `push`, but the last chunk may still be on its way into the memory on return, so
        that the device goes on with the next one meanwhile; earlier chunks are there. Returns
        whether there was a chunk: frames that do not fill a block wait.

        With `stop`, a chunk waits until the memory has room for it or `stop` is set, as a store may
        be away. What fails on the way is raised here, by the next call or by `catch_up`. Raises
        StoreError also for a store that will not come back.
        """
        with self._pushing:
            self._pending.extend(frames)
        has_begun = False
        while True:
            with self._writing():  # `forget` may come in between
                groups = self._next_groups()
                if not groups:
                    break
                self._push_chunk(groups, stop)
                has_begun = True
        if self.memory.num_blocks - self._trimmed_at >= _TRIM_BLOCKS:
            return_free_memory()
            self._trimmed_at = self.memory.num_blocks
        return has_begun

    def catch_up(self) -> None:
        """Wait until all pushed chunks are in the memory. Raises what `push_ahead` raises."""
        with self._writing():
            self._await_stored()

    def fulfil(self, stop: threading.Event | None = None) -> None:
        """Wait until the model has answered what the memory policy wishes to know of the blocks
        that are there, or `stop` is set. Without this, ingestion goes on and may give some up.
        """
        if self._wishes is not None:
            with self._wall.stage("push"):
                self._wishes.wait(stop)

    @property
    def pushed_s(self) -> float:
        """Wall-clock seconds spent pushing so far. Stages of `clock` may overlap."""
        return self._wall.seconds.get("push", 0.0)

    def discard_pending(self) -> None:
        """Forget frames that did not fill a block: the stream's reader will bring them again."""
        self._pending = []

    def forget(self, from_s: float, to_s: float) -> int:
        """Delete the blocks of [from_s, to_s] for good; return how many. See `KVMemory.forget`.
        Later frames are encoded without them: the local window is laid out again.
        """
        self.memory.require_there()  # never wait for a store with the turn in hand
        while not self._pushing.take(_RETRY_S):
            self.memory.require_there()  # the pushing thread may be waiting for it
        try:
            self._end_storing()
            self._pending = [one for one in self._pending if not from_s <= one.stream_s <= to_s]
            self.memory.require_there()
            with self.model.turn:
                noted = self.prefill.note()
                if self._wishes is not None:
                    self._wishes.drop()
                try:
                    return self.memory.forget(from_s, to_s)
                finally:  # even if only a part is gone
                    self._open_prefill(noted)
                    self._note_window()
                    if self._wishes is not None:
                        self._wishes.renew()
        finally:
            self._pushing.give()

    def ask(self, question: Question | str, retrieved: BlocksByLayer | None = None) -> AnswerStream:
        """Start answering; see `QueryHandler.ask`."""
        return self._queries.ask(question, retrieved)

    def judge(self, condition: str, at_s: float | None = None) -> Judgement:
        """Return how probable it is that `condition` is met; see `QueryHandler.judge`."""
        return self._queries.judge(condition, at_s)

    def close(self) -> None:
        """Stop watching and close the memory; what it acknowledged is kept."""
        if self._watching is not None:
            self._watching.stop()
            with suppress(Exception):  # `join` raises it for whoever has the worker, too
                self._watching.join()
        self._end_storing()
        if self._wishes is not None:
            with self.model.turn:
                self._wishes.drop()
        if self.prefill.reads_memory:
            with suppress(KVMemoryError), self.model.turn:  # unless it is closed, away or another's
                self._note_window()
        self.memory.close()

    def _require_unwatched(self) -> None:
        if self._watching is not None and self._watching.is_running:
            name = self._watching.source_name
            raise BusyError(f"session: it is watching {name}; stop that and join it first")

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Let one thread write at a time, and time it; start over after a failure."""
        with self._pushing, self._wall.stage("push"):
            try:
                yield
            except BusyError:
                raise  # the process is ending, and nothing may start any more
            except BaseException:
                self._start_over()
                raise

    def _next_groups(self) -> list[list[Frame]]:
        """Take the frames of the next chunk, block by block; they no longer wait."""
        size = self.model.family.frames_per_block
        whole = len(self._pending) // size
        blocks = min(whole, self.chunk_blocks, self.prefill.longest_chunk())
        taken, self._pending = self._pending[: blocks * size], self._pending[blocks * size :]
        return [taken[i * size : (i + 1) * size] for i in range(blocks)]

    def _push_chunk(self, groups: list[list[Frame]], stop: threading.Event | None) -> None:
        scheduler = self.model.scheduler
        if self.prefill.reads_memory:
            self._await_stored()
        while True:
            try:
                chunk = scheduler.run(self._encode(groups), WorkKind.INGEST, len(groups))
                break
            except StoreAwayError:  # it wanted to read blocks from the store
                if stop is None or stop.wait(_RETRY_S):
                    raise
        self._await_stored()
        if stop is not None:
            self._await_room(stop)
        self._storing = scheduler.side.run(partial(self._store, chunk), chunk.made)

    def _store(self, chunk: Chunk) -> Job[None]:
        """Encode the blocks, on the device and then for the host, let the policy note what it
        wants, and hand them to `_keep`; all earlier blocks are in the memory. Raises
        BlockRejectedError.
        """
        memory, records = self.memory, []
        for at, frame in enumerate(chunk.newest):
            tokens, layers = chunk.tokens[at], chunk.layers[at]
            with self.clock.stage("thumbnail"):
                picture = thumbnail(frame)
            with self.clock.stage("encode"):
                left = chunk.left[at] if chunk.left else {}
                records.append(memory.encoded(block_of(frame, tokens, layers, picture, left)))
        if chunk.noted:
            records[-1] = replace(records[-1], noted=chunk.noted)
        if "note" in self._hooks:
            state, first, oldest = memory.state, memory.num_blocks, memory.first_block
            for at, tokens in enumerate(chunk.tokens):
                mass = chunk.mass[at] if chunk.mass else {}
                seen = chunk.pictures[at] if chunk.pictures else None
                new = NewBlock(first + at, tokens, mass, seen, oldest)
                noted = self.policy.note(new, state)
                state = changed(state, noted)
                records[at] = replace(records[at], noted={**records[at].noted, **noted})
        return self.model.scheduler.submit(self._keep(records, chunk), WorkKind.KEEP)

    def _keep(self, records: Sequence[BlockRecord], chunk: Chunk) -> Work[None]:
        """Put encoded blocks into the memory, in order, in a round of the device."""
        with self.clock.stage("store"):
            for record in records:
                self.memory.take(record)
        self.model.scheduler.on_kept(chunk)
        if self._wishes is not None:
            self._wishes.renew()
        return
        yield  # it wants nothing of the model

    def _await_room(self, stop: threading.Event) -> None:
        while not stop.is_set():
            try:
                with self.model.turn:
                    self.memory.settle()
            except StoreAwayError:
                stop.wait(_RETRY_S)
            else:
                self.memory.wait_for_room(self.chunk_blocks, stop)
                return

    def _encode(self, groups: Sequence[Sequence[Frame]]) -> Work[Chunk]:
        began_at, name = time.time(), self.stream_id
        with self.clock.stage("vision"):
            tokens: list[Tokens] = yield Vision(self.model.family, groups)
        pictures = tuple[Tensor, ...]()
        if self._embed_picture is not None:
            with self.clock.stage("pictures"):
                pictures = tuple(self._embed_picture(groups))
        if self.token_dropper is not None:
            with self.clock.stage("drop"):
                tokens = self.token_dropper.drop(tokens)
        with self.clock.stage("prefill"):
            layers, _ = yield from self.prefill.work(tokens)
        prefill, made = self.prefill, self.model.scheduler.side.mark()
        newest = [group[-1] for group in groups]
        noted = prefill.note() if prefill.is_note_due else UNCHANGED
        mass, left = prefill.mass, prefill.left
        return Chunk(newest, tokens, layers, mass, left, noted, pictures, made, name, began_at)

    def _await_stored(self) -> None:
        """Wait for the chunk on its way, and raise what went wrong with it."""
        self._end_storing()
        storing, self._storing = self._storing, None
        if storing is not None:
            storing.result().result()
            if "expired" in self._hooks:
                self._drop_old_notes()

    def _drop_old_notes(self) -> None:
        """Drop notes after `retain_s`, like blocks."""
        retain_s = self.memory.retain_s
        if retain_s is None:
            return
        with self.model.turn:
            before_s = self.memory.newest_s - retain_s
            if gone := self.policy.expired(self.memory.state, before_s):
                self.memory.note_state(gone)

    def _end_storing(self) -> None:
        """Wait for the chunk on its way. If it fails, `_await_stored` raises that."""
        if self._storing is not None:
            wait([self._storing])
            if self._storing.exception() is None:
                wait([self._storing.result()])

    def _start_over(self) -> None:
        """After a failure, continue the write path from what the memory holds."""
        self._end_storing()
        self._storing = None
        self.discard_pending()
        with self.model.turn:
            self._open_prefill()

    def _open_prefill(self, noted: StateChange = UNCHANGED) -> None:
        """Go on after what the memory holds; the window leaves damaged blocks out."""
        decoder, prefix = self.model.decoder, self.model.family.prefix()
        self.prefill = read_while_written(
            partial(restored_prefill, decoder, prefix, self.memory, self.policy, noted)
        )
        if self.token_dropper is not None:
            self.token_dropper.forget()

    def _note_window(self) -> None:
        """Note what the write path needs to continue, unless it is ahead of the memory."""
        prefill, memory = self.prefill, self.memory
        if prefill.reads_memory and prefill.num_blocks == memory.num_blocks:
            memory.note_state(prefill.note())
