"""play_stream: plays one stream of an exam; returns what each contender said and what it cost.

All contenders watch it at the same time: each chunk of frames goes to one after the other, and so
does each question, so that their times are taken under the same load. The first is the reference
for the others. Nobody runs the vision tower or makes pictures: the tokens come from `KeptTokens`.
"""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from jaxtyping import Float
from torch import Tensor

from eval.memory_benchmark.ablations import ABLATIONS
from eval.memory_benchmark.kept_tokens import KeptTokens
from eval.play.asker import SessionAsker
from eval.play.contender import Contender
from eval.play.play_all import kv_bytes
from eval.play.plays import TimeSpan
from eval.play.settings import PlaySettings
from eval.stream_benchmark.exam import ExamStream
from memory import KVMemory, MemoryPolicy, codec_named
from memory.ageing import REWRITE_BLOCKS
from memory.block_record import HEADER_BYTES, BlockRecord, RecordHeader
from vstream import Question, Session, VideoLLM, VStreamConfig, open_session
from vstream.answer import QueryHandler
from vstream.answer_stream import AnswerStream, Reading
from vstream.engine.passes import Work
from vstream.engine.question_prefill import BlocksByLayer
from vstream.policy import shape_of

PARTS = ("codes", "scales", "index", "heads and rest")
_BITS = 8


def stored_bytes(memory: KVMemory) -> dict[str, int]:
    """Return bytes of all blocks by PARTS, without pictures. The rest includes other bytes."""
    found: Counter[str] = Counter()
    pictures = 0
    for block_id in memory.visible(None):
        record = memory._store.read_record(block_id)
        found.update(_of_record(record))
        pictures += len(record.thumbnail)
    by_tier = memory.bytes_by_tier()
    whole = by_tier[list(by_tier)[-1]]
    found[PARTS[-1]] = whole - pictures - sum(found.values())
    return {part: found[part] for part in PARTS}


def _of_record(record: BlockRecord) -> dict[str, int]:
    codec, layout = codec_named(record.head.form.codec), record.head.form.layout
    rows = sum(map(len, record.rows))
    bits = getattr(codec, "bits", None)
    codes = rows if bits is None else len(record.rows) * 2 * layout.numel * bits // _BITS
    header = RecordHeader.from_bytes(record.head_bytes()[:HEADER_BYTES], "a block")
    return {"codes": codes, "scales": rows - codes, "index": header.vectors_bytes}


_CHUNK_FRAMES = 64
_HOST_BYTES = 1 << 26
"""Copies of rows in RAM, per contender: all are open at the same time."""


class _Listener(QueryHandler):
    """Remembers the first token's distribution of the last answer, and what the answer cost."""

    first: Float[Tensor, " vocabulary"]
    cpu_ms = 0.0

    def ask(self, question: Question | str, retrieved: BlocksByLayer | None = None) -> AnswerStream:
        started = time.process_time()
        stream = super().ask(question, retrieved)
        assert stream.answer is not None
        self.cpu_ms = 1000 * (time.process_time() - started)
        return stream

    def _reading(
        self,
        question: Question,
        retrieved: BlocksByLayer | None = None,
        follows_times: bool = False,
    ) -> Work[Reading]:
        reading = yield from super()._reading(question, retrieved, follows_times)
        self.first = reading.prefilled.logits[-1].float().log_softmax(dim=0)
        return reading


class _Watcher:
    """A contender's session, what it said, and what it kept at `half_frame` and at the end.

    `said` has a document for each question: the answer, with `kl`, of the first token to the
    reference's in nats, and `is_same`, whether both have one best token.
    """

    def __init__(self, contender: Contender, session: Session, settings: PlaySettings) -> None:
        self.contender = contender
        self.said: list[dict[str, Any]] = []
        self._session = session
        self._cpu_s = 0.0
        self._half_bytes: dict[str, int] = {}
        self._asker = SessionAsker(session, contender, settings, _Listener)

    def push(self, tokens: KeptTokens, start: int, end: int) -> None:
        frames = tokens.frames(start, end)
        started = time.process_time()
        self._session.push(frames)
        self._cpu_s += time.process_time() - started
        if end == _half_frame(tokens):
            self._half_bytes = stored_bytes(self._session.memory)

    def ask(
        self,
        question: Question,
        evidence: Sequence[TimeSpan],
        reference: Float[Tensor, " vocabulary"] | None,
    ) -> Float[Tensor, " vocabulary"]:
        """Return the log-probabilities of the first token; without a `reference` they are its."""
        given = replace(self._asker.ask(question, evidence), seen_s=(), cited_s=())
        handler = self._asker.handler
        assert isinstance(handler, _Listener)
        like = handler.first if reference is None else reference
        told = {
            "contender": self.contender.name,
            "number": len(self.said),
            "kl": max(0.0, float((like.exp() * (like - handler.first)).sum())),
            "is_same": bool(handler.first.argmax() == like.argmax()),
            "cpu_ms": round(handler.cpu_ms, 2),
        }
        self.said.append(told | asdict(given))
        return like

    def kept(self, tokens: KeptTokens, raw_bytes: int) -> dict[str, Any]:
        """Return bytes by PARTS, of which `raw_bytes` are what all would take as bf16. The CPU time
        is without tower and pictures.
        """
        return {
            "contender": self.contender.name,
            "num_frames": tokens.num_frames,
            "half_frame": _half_frame(tokens),
            "half_bytes": self._half_bytes,
            "all_bytes": stored_bytes(self._session.memory),
            "raw_bytes": raw_bytes,
            "ingest_cpu_s": self._cpu_s,
        }


def _half_frame(tokens: KeptTokens) -> int:
    return tokens.num_frames - tokens.num_frames // (2 * REWRITE_BLOCKS) * REWRITE_BLOCKS


def policy_of(contender: Contender, settings: PlaySettings, model: VideoLLM) -> MemoryPolicy:
    """Return the product's policy, or one of the ablations. Raises PolicyError."""
    kind = ABLATIONS.get(contender.policy)
    if kind is None:
        return settings.policy(contender, model)
    limit = settings.configured(contender).engine.max_answer_tokens
    return kind(shape_of(model, limit), kind.read_settings(contender.settings))


def play_stream(
    stream: ExamStream,
    tokens: KeptTokens,
    contenders: Sequence[Contender],
    settings: PlaySettings,
    folder: Path,
    tell: Callable[[int], None],
) -> list[tuple[list[dict[str, Any]], dict[str, Any]]]:
    """Return what each contender said and kept; the first is the reference. `tell`: frames seen."""
    model, seen = tokens.model(), 0
    [first] = model.family.encode([tokens.frames(0, model.family.frames_per_block)])
    num_blocks = tokens.num_frames // model.family.frames_per_block
    raw_bytes = kv_bytes(model.decoder, num_blocks * len(first.embeddings))

    def show(until: int) -> None:
        nonlocal seen
        stops = {*range(seen, until, _CHUNK_FRAMES), _half_frame(tokens), until}
        for end in sorted(stop for stop in stops if seen < stop <= until):
            for watcher in watchers:
                watcher.push(tokens, seen, end)
            tell(end - seen)
            seen = end

    with ExitStack() as opened:
        watchers = []
        for place, one in enumerate(contenders):
            config = _configured(one, settings, raw_bytes, folder / str(place))
            session = open_session(config, model, "watched", policy_of(one, settings, model))
            watchers.append(_Watcher(one, opened.enter_context(session), settings))
        for drawn in stream.questions:
            asked = drawn.question
            show(min(int(asked.asked_s * model.sample_fps) + 1, tokens.num_frames))
            evidence = [TimeSpan(span.start_s, span.end_s) for span in asked.evidence]
            reference: Tensor | None = None
            for watcher in watchers:
                question = Question(asked.text, float(asked.asked_s))
                reference = watcher.ask(question, evidence, reference)
        show(tokens.num_frames)
        return [(watcher.said, watcher.kept(tokens, raw_bytes)) for watcher in watchers]


def _configured(
    contender: Contender, settings: PlaySettings, raw_bytes: int, folder: Path
) -> VStreamConfig:
    """Use files of its own, which alone count towards the budget, not copies in RAM."""
    config = settings.configured(contender)
    memory: dict[str, object] = {"store": folder.resolve().as_uri(), "host_bytes": _HOST_BYTES}
    if contender.budget is not None:
        memory["file_bytes"] = int(Fraction(contender.budget) * raw_bytes)
    return config.model_copy(update={"memory": config.memory.model_copy(update=memory)})
