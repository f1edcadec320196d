"""measure_shape: measure a model of a published shape against the lowest possible times and plain
transformers, with the same random weights.
"""

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from itertools import islice
from typing import Annotated, NamedTuple

import typer

from encoders import Frame
from eval.random_model import random_family, random_video_llm
from eval.run.peak_memory import PeakMemory
from eval.speed.figures import Figures, Row
from eval.speed.floors import Floors, measure_rates, tower_flops
from eval.speed.past import LongPast
from eval.speed.plain_use import measure_plain
from eval.speed.questions import (
    ANSWER_TOKENS,
    LATER_TOKENS,
    QUESTION_TOKENS,
    Questions,
    Timed,
    measured_questions,
    timed,
    unending,
)
from eval.speed.subject import (
    CAMERA_PX,
    RandomWeights,
    endless_frames,
    here,
    ingest,
    roomy_config,
    session_in,
    weights_of,
)
from memory import BlockStore, HostTier
from vstream import Session, VideoLLM, load_config
from vstream.device.scheduler import Limits


class _Ours(NamedTuple):
    """The measurements of one session; `drawn` is for sampled answers, `best` for greedy ones."""

    frame_s: float
    stages: Row
    best: Timed
    drawn: Timed
    together: list[Row]
    long_past: list[Row]
    history_frames: int
    frame_bytes: float


def measure_shape(
    name: str,
    random_weights: RandomWeights = False,
    frames: Annotated[int, typer.Option(min=2, help="To ingest before the questions.")] = 256,
    askers: Annotated[
        list[int] | None, typer.Option(min=1, help="Questions at once; repeatable.")
    ] = None,
    hours: Annotated[
        list[float] | None,
        typer.Option(min=0.01, help="Also ask with this much history; repeatable."),
    ] = None,
) -> Figures:
    """Measure a model of a published shape against the lowest possible times and plain use."""
    weights = weights_of(name, random_weights)
    family = random_family(name, weights)
    rates = measure_rates(weights.device, weights.dtype)
    wanted, per_block = family.recommended, family.frames_per_block
    coming = endless_frames(wanted.sample_fps, is_camera=True)
    seen_frames = wanted.retrieve_blocks * per_block + wanted.recent_frames
    past = list(islice(coming, seen_frames))
    block_tokens = len(family.encode([past[:per_block]])[0].embeddings)
    window_tokens = block_tokens * wanted.window_frames // per_block
    plain = measure_plain(weights, family, past, window_tokens)  # while all is unchanged
    flops = tower_flops(family, past[:per_block])
    model = unending(random_video_llm(name, weights, family))
    floors = Floors.of(rates, weights, model.decoder)
    with PeakMemory(weights.device) as peak:
        ours = _measured(model, coming, frames, askers or [1, 8, 32], hours or [])
    # The window's left edge moves only once a step, so most frames see less than a full window.
    mean_window = window_tokens * (1 - (wanted.window_stride - 1) / 2 / wanted.window_frames)
    ingest_floor_s = floors.ingest_s(flops, block_tokens / per_block, mean_window)
    fetched_bytes = round(ours.frame_bytes * min(seen_frames, ours.history_frames))
    context = ours.best.context_tokens
    question_floor_s = floors.question_s(QUESTION_TOKENS, context, fetched_bytes)
    token_floor_s = floors.decode_s(context)
    about: Row = {
        **here(model),
        "frame_px": f"{CAMERA_PX[0]} x {CAMERA_PX[1]}",
        "question_tokens": QUESTION_TOKENS,
        "answer_tokens": ANSWER_TOKENS,
        "window_tokens": window_tokens,
        "context_tokens": context,
        "history_frames": ours.history_frames,
        "store_bytes_per_frame": round(ours.frame_bytes),
        "peak_bytes": peak.num_bytes,
        **asdict(rates),
    }
    steps = [
        _step("ingest a frame", 1000 * ours.frame_s, ingest_floor_s, plain.frame_s),
        _step("first token", ours.best.first_token_ms, question_floor_s, plain.first_token_s),
        _step("decode a token", ours.best.token_ms, token_floor_s, plain.token_s),
        _step("decode a drawn token", ours.drawn.token_ms, token_floor_s, None),
    ]
    return {
        "here": [about],
        "steps": steps,
        "stages of an ingested frame": [ours.stages],
        "askers at once": ours.together,
        "long past": ours.long_past,
    }


def _measured(
    model: VideoLLM,
    frames: Iterator[Frame],
    num_frames: int,
    askers: Sequence[int],
    hours: Sequence[float],
) -> _Ours:
    """Ingest `num_frames`, then ask with each number of `askers`, then with `hours` of history."""
    model.scheduler.limits = Limits(max_running=max(askers))
    config = roomy_config()
    store = HostTier(config.memory.host_bytes)
    best, drawn = (measured_questions(model.family, is_drawn) for is_drawn in (False, True))
    with session_in(store, config, model) as session:
        frame_s, stages = _ingest(session, frames, num_frames)
        found, found_drawn = timed(session.ask, best), timed(session.ask, drawn)
        together: list[Row] = [
            {
                "askers": number,
                "tokens_per_s": _tokens_per_s(session, number, best),
                "drawn_tokens_per_s": _tokens_per_s(session, number, drawn),
            }
            for number in askers
        ]
        stats = session.memory.stats()
        long_past: list[Row] = [
            {"history_h": h, "first_token_ms": _first_token_ms(session, store, h, best)}
            for h in hours
        ]
    history_frames = stats.blocks * model.family.frames_per_block
    frame_bytes = sum(stats.bytes_by_tier.values()) / history_frames
    return _Ours(
        frame_s, stages, found, found_drawn, together, long_past, history_frames, frame_bytes
    )


def _step(name: str, ours_ms: float, floor_s: float, plain_s: float | None) -> Row:
    return {
        "step": name,
        "ours_ms": ours_ms,
        "floor_ms": 1000 * floor_s,
        "ours_by_floor": ours_ms / (1000 * floor_s),
        "plain_ms": None if plain_s is None else 1000 * plain_s,
    }


def _ingest(session: Session, frames: Iterator[Frame], num_frames: int) -> tuple[float, Row]:
    """Measure ingest with a full window: the second half of `num_frames`, or those after it."""
    family = session.model.family
    step = session.encoding.stride_blocks * family.frames_per_block
    warm = max(family.recommended.window_frames, num_frames // 2)
    session.push(list(islice(frames, warm)))
    return ingest(session, frames, -(-max(1, num_frames - warm) // step) * step)


def _first_token_ms(
    session: Session, store: BlockStore, hours: float, questions: Questions
) -> float:
    """Return the first token's time with that much history; its newest blocks are the session's."""
    model = session.model
    wanted = round(3600 * hours * model.sample_fps / model.family.frames_per_block)
    past = LongPast(store, max(wanted, store.next_id))
    with session_in(past, load_config(), model) as long_past:
        return timed(long_past.ask, questions).first_token_ms


def _tokens_per_s(session: Session, num_askers: int, questions: Questions) -> float:
    """Return the rate of all answers, from the first token of any to the last, in the second of two
    rounds: in the first a GPU may have to record steps of that batch size.
    """

    def ask(number: int) -> tuple[float, float]:
        began = time.perf_counter()
        spent = session.ask(questions(number)).answer.timings_ms
        return began + spent.ttft / 1000, began + spent.total / 1000

    with ThreadPoolExecutor(num_askers) as askers:
        _, times = (list(askers.map(ask, range(num_askers))) for _ in range(2))
    passed_s = max(last for _, last in times) - min(first for first, _ in times)
    return num_askers * LATER_TOKENS / passed_s
