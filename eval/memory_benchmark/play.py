"""play_stream: plays one stream of an exam; returns what each contender said and what it cost.

All contenders watch it at the same time: each chunk of frames goes to one after the other, and so
does each question, so that their times are taken under the same load. The first is the reference
for the others. Nobody runs the vision tower or makes pictures: the tokens come from `KeptTokens`.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from jaxtyping import Float
from torch import Tensor

from eval.memory_benchmark.ablations import ABLATIONS
from eval.memory_benchmark.kept_tokens import KeptTokens
from eval.play.asked import TimeSpan
from eval.play.asker import GivenAnswer, SessionAsker
from eval.play.contender import Contender
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


@dataclass(frozen=True)
class Said:
    """`kl`: of the first token to the reference's, in nats; `is_same`: both have one best token."""

    stream: str
    contender: str
    number: int
    text: str | None
    kl: float
    is_same: bool
    recall: tuple[float, ...] | None
    held: float | None
    cpu_ms: float
    first_token_ms: float | None
    context_tokens: int | None


@dataclass(frozen=True)
class Kept:
    """By PARTS, at `half_frame` and at the end; `ingest_cpu_s` excludes tower and pictures."""

    stream: str
    contender: str
    num_frames: int
    half_frame: int
    half_bytes: Mapping[str, int]
    all_bytes: Mapping[str, int]
    raw_bytes: int
    """Of all keys and values as bf16."""
    ingest_cpu_s: float


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
    def __init__(self, contender: Contender, session: Session, settings: PlaySettings) -> None:
        self.contender = contender
        self.session = session
        self.cpu_s = 0.0
        self.half_bytes: dict[str, int] = {}
        self._asker = SessionAsker(session, contender, settings, _Listener)

    def push(self, tokens: KeptTokens, start: int, end: int) -> None:
        frames = tokens.frames(start, end)
        started = time.process_time()
        self.session.push(frames)
        self.cpu_s += time.process_time() - started

    def ask(
        self, question: Question, evidence: Sequence[TimeSpan]
    ) -> tuple[GivenAnswer, Float[Tensor, " vocabulary"], float]:
        """Return the answer, the log-probabilities of its first token, and CPU milliseconds."""
        given = self._asker.ask(question, evidence)
        handler = self._asker.handler
        assert isinstance(handler, _Listener)
        return given, handler.first, handler.cpu_ms


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
) -> Iterator[tuple[list[Said], Kept]]:
    """Yield each contender's results in turn; the first is the reference. `tell`: frames seen."""
    model = tokens.model()
    raw = _raw_bytes(tokens, model)
    said: dict[str, list[Said]] = {one.name: [] for one in contenders}
    with ExitStack() as open_:
        watchers = [
            _Watcher(
                one,
                open_.enter_context(
                    open_session(
                        _configured(one, settings, raw, folder / str(place)),
                        model,
                        "watched",
                        policy_of(one, settings, model),
                    )
                ),
                settings,
            )
            for place, one in enumerate(contenders)
        ]
        half = tokens.num_frames - tokens.num_frames // (2 * REWRITE_BLOCKS) * REWRITE_BLOCKS
        seen = 0
        for number, (until, question, evidence) in enumerate([*_asked(stream, model), _END]):
            for end in _stops(seen, min(until, tokens.num_frames), half):
                for watcher in watchers:
                    watcher.push(tokens, seen, end)
                    if end == half:
                        watcher.half_bytes = stored_bytes(watcher.session.memory)
                tell(end - seen)
                seen = end
            if question is not None:
                for one in _put(stream, number, question, evidence, watchers):
                    said[one.contender].append(one)
        for watcher in watchers:
            name = watcher.contender.name
            kept = Kept(
                stream.name,
                name,
                tokens.num_frames,
                half,
                watcher.half_bytes,
                stored_bytes(watcher.session.memory),
                raw,
                watcher.cpu_s,
            )
            yield said[name], kept


_Asked = tuple[int, Question | None, Sequence[TimeSpan]]
_END: _Asked = (1 << 62, None, ())


def _asked(stream: ExamStream, model: VideoLLM) -> Iterator[_Asked]:
    for drawn in stream.questions:
        one = drawn.question
        spans = [TimeSpan(span.start_s, span.end_s) for span in one.evidence]
        until = int(one.asked_s * model.sample_fps) + 1
        yield until, Question(one.text, float(one.asked_s)), spans


def _stops(start: int, end: int, half: int) -> list[int]:
    stops = {*range(start + _CHUNK_FRAMES, end, _CHUNK_FRAMES), end, half}
    return sorted(stop for stop in stops if start < stop <= end)


def _put(
    stream: ExamStream,
    number: int,
    question: Question,
    evidence: Sequence[TimeSpan],
    watchers: Sequence[_Watcher],
) -> Iterator[Said]:
    reference: Tensor | None = None
    for watcher in watchers:
        given, first, cpu_ms = watcher.ask(question, evidence)
        reference = first if reference is None else reference
        yield Said(
            stream.name,
            watcher.contender.name,
            number,
            given.text,
            max(0.0, float((reference.exp() * (reference - first)).sum())),
            bool(first.argmax() == reference.argmax()),
            given.recall,
            given.held,
            round(cpu_ms, 2),
            given.first_token_ms,
            given.context_tokens,
        )


def _raw_bytes(tokens: KeptTokens, model: VideoLLM) -> int:
    decoder, size = model.decoder, model.family.frames_per_block
    [first] = model.family.encode([tokens.frames(0, size)])
    token_bytes = 2 * decoder.num_layers * decoder.kv_heads * decoder.head_dim * 2
    return tokens.num_frames // size * len(first.embeddings) * token_bytes


def _configured(
    contender: Contender, settings: PlaySettings, raw_bytes: int, folder: Path
) -> VStreamConfig:
    """Use files of its own, which alone count towards the budget, not copies in RAM."""
    config = settings.configured(contender)
    memory: dict[str, object] = {"store": folder.resolve().as_uri(), "host_bytes": _HOST_BYTES}
    if contender.budget is not None:
        memory["file_bytes"] = int(Fraction(contender.budget) * raw_bytes)
    return config.model_copy(update={"memory": config.memory.model_copy(update=memory)})
