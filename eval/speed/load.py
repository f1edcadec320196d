"""measure_load: measures ingest beside askers, and answers beside streams.

Answers two questions about one scheduler. How many frames a second does one stream ingest at full
speed while people ask it without a pause? And how long does a question wait for its first token
while streams deliver frames at their own pace?
"""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from itertools import count, islice
from typing import Annotated, NamedTuple

import numpy as np
import typer

from encoders import Frame
from eval.speed.figures import Figures, Row
from eval.speed.questions import measured_questions, unending
from eval.speed.subject import (
    RandomWeights,
    ShapeName,
    busy_share,
    endless_frames,
    here,
    passing_session,
    ready_model,
    roomy_config,
)
from vstream import Session, VideoLLM, VStreamConfig
from vstream.device.scheduler import Limits

_POOL = 64


def measure_load(
    shape: ShapeName = None,
    random_weights: RandomWeights = False,
    frames: Annotated[int, typer.Option(min=1, help="Of the stream that is asked, before.")] = 256,
    seconds: Annotated[float, typer.Option(min=1, help="Of each measurement.")] = 10,
    askers: Annotated[
        list[int] | None, typer.Option(min=0, help="Beside one stream; may be given again.")
    ] = None,
    streams: Annotated[
        list[int] | None, typer.Option(min=0, help="Beside one asker; may be given again.")
    ] = None,
) -> Figures:
    """Frames a second while people ask, and first tokens while streams bring frames."""
    model, config = unending(ready_model(shape, random_weights)), roomy_config()
    numbers = askers or [0, 8, 32]
    most = max((*numbers, 1))
    model.scheduler.limits = Limits(max_running=most, max_waiting=max(64, most))
    coming = endless_frames(model.sample_fps, is_camera=shape is not None)
    pool = list(islice(coming, _POOL))
    with passing_session(config, model) as session:
        session.push(list(islice(coming, frames)))
        return {
            "here": [here(model)],
            "one stream as fast as it can": [
                _ingest_beside(session, coming, number, seconds) for number in numbers
            ],
            "one asker beside streams": [
                _first_tokens_beside(session, config, pool, number, seconds)
                for number in streams or [0, 1, 16]
            ],
        }


class _TimedAnswer(NamedTuple):
    """One answer: when its first and last tokens came, and how many there were."""

    first: float
    last: float
    tokens: int

    def tokens_between(self, began: float, ended: float) -> float:
        """Return the tokens in that time, as if they had come evenly."""
        inside = min(self.last, ended) - max(self.first, began)
        return self.tokens * max(0.0, inside) / (self.last - self.first)


def _ingest_beside(
    session: Session, frames: Iterator[Frame], num_askers: int, seconds: float
) -> Row:
    chunk = session.chunk_blocks * session.model.family.frames_per_block
    with _asking(session, num_askers) as answers:
        pushed, began = 0, time.perf_counter()
        while time.perf_counter() < began + seconds:
            session.push_ahead(list(islice(frames, chunk)))
            pushed += chunk
        session.catch_up()
        ended = time.perf_counter()
    tokens = sum(answer.tokens_between(began, ended) for answer in answers)
    return {
        "askers": num_askers,
        "frames_per_s": pushed / (ended - began),
        "answer_tokens_per_s": tokens / (ended - began),
    }


@contextmanager
def _asking(session: Session, num_askers: int) -> Iterator[Sequence[_TimedAnswer]]:
    """Within the context askers ask on and on, once each has had an answer. Complete afterwards."""
    answers: list[_TimedAnswer] = []
    answered: set[int] = set()
    questions = measured_questions(session.model.family)
    stop = threading.Event()

    def ask(number: int) -> None:
        for turn in count(number, num_askers):
            if stop.is_set():
                return
            began = time.perf_counter()
            answer = session.ask(questions(turn)).answer
            times = answer.timings_ms
            ends = began + times.ttft / 1000, began + times.total / 1000
            answers.append(_TimedAnswer(*ends, len(answer.token_ids)))
            answered.add(number)

    with _in_threads(ask, num_askers, stop) as asking:
        while len(answered) < num_askers and not any(one.done() for one in asking):
            time.sleep(0.01)
        yield answers


def _first_tokens_beside(
    session: Session, config: VStreamConfig, pool: Sequence[Frame], num_streams: int, seconds: float
) -> Row:
    model, questions = session.model, measured_questions(session.model.family)
    found_ms: list[float] = []
    with beside_streams(config, model, pool, num_streams) as frames_share:
        session.ask(questions(0)).answer  # noqa: B018  it waits
        end = time.perf_counter() + seconds
        with busy_share(model.scheduler) as device_share:
            while not found_ms or time.perf_counter() < end:
                answer = session.ask(questions(len(found_ms) + 1)).answer
                found_ms.append(answer.timings_ms.ttft)
            return {
                "streams": num_streams,
                "questions": len(found_ms),
                "first_token_p50_ms": float(np.percentile(found_ms, 50)),
                "first_token_p95_ms": float(np.percentile(found_ms, 95)),
                "frames_share": frames_share(),
                "device_share": device_share(),
            }


@contextmanager
def beside_streams(
    config: VStreamConfig, model: VideoLLM, pool: Sequence[Frame], num_streams: int
) -> Iterator[Callable[[], float]]:
    """Within the context, give each stream the pool's frames when due, after a first block. Yields
    a function for the share of due frames that were encoded, 0 to 1; 1 without streams.
    """
    stop, fps = threading.Event(), model.sample_fps
    first, pushed = model.family.frames_per_block, [0] * num_streams

    def frame(number: int) -> Frame:
        return Frame(pool[number % len(pool)].pixels, number / fps, time.time())

    def due_s(stream: int, number: int) -> float:
        """Stagger the streams, as cameras do not tick together."""
        return began + (stream / num_streams + number) / fps

    def flow(stream: int) -> None:
        while not stop.wait(due_s(stream, pushed[stream]) - time.monotonic()):
            streams[stream].push_ahead([frame(first + pushed[stream])])
            pushed[stream] += 1
        streams[stream].catch_up()

    def share() -> float:
        """Frames still being encoded do not count as due."""
        passed = [fps * (time.monotonic() - due_s(stream, 0)) for stream in range(num_streams)]
        wanted = sum(max(0, int(one)) for one in passed)
        return min(1.0, sum(pushed) / wanted) if wanted else 1.0

    with ExitStack() as opened:
        streams = [opened.enter_context(passing_session(config, model)) for _ in range(num_streams)]
        for session in streams:
            session.push([frame(number) for number in range(first)])
        began = time.monotonic()
        with _in_threads(flow, num_streams, stop):
            yield share


@contextmanager
def _in_threads(
    work: Callable[[int], None], count: int, stop: threading.Event
) -> Iterator[Sequence[Future[None]]]:
    """Work on each number below `count` in a thread of its own until `stop`, set at the end."""
    with ThreadPoolExecutor(max(1, count)) as threads:
        running = [threads.submit(work, number) for number in range(count)]
        try:
            yield running
        finally:
            stop.set()
        for one in running:
            one.result()
