"""measure_shape: the name of a shape and a device in, its ShapeSpeed out."""

import statistics
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import islice

import torch

from encoders import Frame
from eval.measured_questions import (
    ANSWER_TOKENS,
    QUESTION_TOKENS,
    MeasuredQuestions,
    unending,
)
from eval.random_model import random_family, random_model, random_video_llm
from eval.run.hardware import Hardware
from eval.run.peak_memory import PeakMemory
from eval.shape_speed.device_rates import measure_rates, wait_for
from eval.shape_speed.floors import DecoderSizes, Floors, tower_flops
from eval.shape_speed.folded_history import FoldedHistory
from eval.shape_speed.plain_use import PlainUse
from eval.shape_speed.result import ShapeSpeed, Step
from eval.speed import CAMERA_PX, camera_frames
from memory import BlockStore, HostTier, KeepPolicy, KVMemory, MemoryReader, StreamMake
from vstream import AnswerStream, Question, Session, VideoLLM, VStreamConfig
from vstream.answer import QueryHandler
from vstream.device.scheduler import Limits
from vstream.policy import policy_for

ASKERS = (1, 8, 32)
_ROUNDS = 5
_LATER_TOKENS = ANSWER_TOKENS - 1
"""Of an answer, after its first."""
Ask = Callable[[Question], AnswerStream]
Questions = Callable[[int], Question]


@dataclass(frozen=True)
class ShapeOptions:
    """How much is measured: `frames` are ingested before questions are asked."""

    frames: int
    askers: tuple[int, ...] = ASKERS
    hours: tuple[float, ...] = ()
    """Lengths of history at which a question is asked as well, see FoldedHistory."""


@dataclass(frozen=True)
class _Asked:
    first_token_s: float
    token_s: float
    context_tokens: int


def measure_shape(
    shape: str,
    device: torch.device,
    dtype: torch.dtype,
    config: VStreamConfig,
    options: ShapeOptions,
) -> ShapeSpeed:
    """Plain use first, then vstream, on the same weights."""
    hardware, rates = Hardware.here(), measure_rates(device, dtype)
    model = random_model(shape, device, dtype)
    family = random_family(shape, model)
    frames = camera_frames(family.recommended.sample_fps)
    per_block = family.frames_per_block
    block_tokens = len(family.encode([list(islice(frames, per_block))])[0].embeddings)
    window_tokens = block_tokens * family.recommended.window_frames // per_block
    wanted = family.recommended
    seen_frames = wanted.retrieve_blocks * per_block + wanted.recent_frames
    past = list(islice(frames, seen_frames))
    plain = PlainUse(model, family).measure(past, window_tokens, QUESTION_TOKENS)
    flops = tower_flops(family, past[:per_block])
    llm = unending(random_video_llm(shape, model, family))
    questions = MeasuredQuestions(family)
    drawn_questions = partial(questions, is_drawn=True)
    llm.scheduler.limits = Limits(max_running=max(options.askers))
    floors = Floors(rates, DecoderSizes.of(model, llm.decoder))
    store = HostTier(config.memory.host_bytes)
    with PeakMemory(device) as peak, _session(config, llm, store) as session:
        frame_s, stages = _ingest(session, frames, options.frames)
        asked, drawn = (_ask(session.ask, which) for which in (questions, drawn_questions))
        together, drawn_together = (
            {n: _ask_together(session, n, which) for n in options.askers}
            for which in (questions, drawn_questions)
        )
        stats = session.memory.stats()
        by_hours = {
            hours: _ask(_asker(session, store, hours), questions).first_token_s
            for hours in options.hours
        }
    history_frames = stats.blocks * per_block
    store_bytes = sum(stats.bytes_by_tier.values()) / history_frames
    fetched_bytes = store_bytes * min(seen_frames, history_frames)
    # The window's left edge stands still for a step, so that most frames see less than all of it.
    mean_window = window_tokens * (1 - (wanted.window_stride - 1) / 2 / wanted.window_frames)
    token_floor_s = floors.decode_s(asked.context_tokens)
    return ShapeSpeed(
        shape=shape,
        device=hardware.device or hardware.cpu if device.type == "cuda" else hardware.cpu,
        dtype=str(dtype).removeprefix("torch."),
        rates=rates,
        frame_px=CAMERA_PX,
        question_tokens=QUESTION_TOKENS,
        answer_tokens=ANSWER_TOKENS,
        window_tokens=window_tokens,
        context_tokens=asked.context_tokens,
        history_frames=history_frames,
        ingest_frame=Step(
            frame_s, floors.ingest_s(flops, block_tokens / per_block, mean_window), plain.frame_s
        ),
        first_token=Step(
            asked.first_token_s,
            floors.question_s(QUESTION_TOKENS, asked.context_tokens, round(fetched_bytes)),
            plain.first_token_s,
        ),
        decode_token=Step(asked.token_s, token_floor_s, plain.token_s),
        drawn_token=Step(drawn.token_s, token_floor_s),
        stages_ms=stages,
        store_bytes_per_frame=round(store_bytes),
        askers_tokens_per_s=together,
        askers_drawn_tokens_per_s=drawn_together,
        first_token_s_by_hours=by_hours,
        peak_bytes=peak.num_bytes,
    )


def _ingest(
    session: Session, frames: Iterator[Frame], num_frames: int
) -> tuple[float, dict[str, float]]:
    """Seconds and stages of a frame once the window is full: over the second half of `num_frames`,
    or over as many as there are after it.
    """
    model = session.model
    step = session.encoding.stride_blocks * model.family.frames_per_block
    warm = max(model.family.recommended.window_frames, num_frames // 2)
    session.push(list(islice(frames, warm)))
    before = dict(session.clock.seconds)
    later = list(islice(frames, -(-max(1, num_frames - warm) // step) * step))
    wait_for(model.decoder.device)
    started = time.perf_counter()
    session.push(later)
    wait_for(model.decoder.device)
    passed_s = time.perf_counter() - started
    stages = {
        name: round(1000 * (spent - before.get(name, 0.0)) / len(later), 3)
        for name, spent in session.clock.seconds.items()
    }
    return passed_s / len(later), stages


def _session(config: VStreamConfig, model: VideoLLM, store: BlockStore) -> Session:
    """Whose blocks lie in `store`."""
    decoder = model.decoder
    make = StreamMake(model.fingerprint, decoder.num_layers, decoder.kv_heads, decoder.head_dim)
    memory = KVMemory(make, decoder.device, store, KeepPolicy(config.memory.codec))
    return Session(model, memory, policy_for(config, model), config.engine)


def _asker(session: Session, store: BlockStore, hours: float) -> Ask:
    """Asks about that much history; the newest blocks are the session's."""
    model = session.model
    num_blocks = round(3600 * hours * model.sample_fps / model.family.frames_per_block)
    history = FoldedHistory(store, max(num_blocks, store.next_id))
    memory = MemoryReader(session.memory.make, model.decoder.device, history)
    return QueryHandler(model, memory, session.prefill.prefix, session.policy, session.config).ask


def _ask(ask: Ask, questions: Questions) -> _Asked:
    """Medians; the first question is not counted."""
    answers = [ask(questions(number)).answer for number in range(_ROUNDS + 1)][1:]
    times = [one.timings_ms for one in answers]
    return _Asked(
        first_token_s=statistics.median(one.ttft for one in times) / 1000,
        token_s=statistics.median(one.total - one.ttft for one in times) / 1000 / _LATER_TOKENS,
        context_tokens=answers[-1].context_tokens,
    )


def _ask_together(session: Session, num_askers: int, questions: Questions) -> float:
    """Tokens a second of all answers together, between the first token of any and the last.

    Of two rounds the second: in the first a card may still have to record steps of that many.
    """

    def ask(number: int) -> tuple[float, float]:
        asked = time.perf_counter()
        times = session.ask(questions(number)).answer.timings_ms
        return asked + times.ttft / 1000, asked + times.total / 1000

    with ThreadPoolExecutor(num_askers) as askers:
        _, told = (list(askers.map(ask, range(num_askers))) for _ in range(2))
    passed_s = max(last for _, last in told) - min(first for first, _ in told)
    return round(num_askers * _LATER_TOKENS / passed_s, 2)
