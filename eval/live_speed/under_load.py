"""measure_under_load: a model in; its ingest beside askers, and its answers beside streams, out.

Two questions are asked of one scheduler. How many frames a second does one stream get in, as fast
as it can, while so many people ask it without a pause? And how long does a question wait for its
first token while so many streams bring frames at their own pace?
"""

import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import islice

import numpy as np

from encoders import Frame
from eval.live_speed.busy_device import BusyDevice
from eval.speed import made_up_frames, varied_question
from vstream import Session, VideoLLM, VStreamConfig, open_session
from vstream.scheduler import Limits


@dataclass(frozen=True)
class LoadOptions:
    """How much is measured: each number of askers, then each number of streams, for `seconds`."""

    frames: int = 256
    """Of the stream that is asked, before anything is measured."""
    seconds: float = 10.0
    answer_tokens: int = 32
    askers: tuple[int, ...] = (0, 8, 32)
    streams: tuple[int, ...] = (0, 1, 16)


@dataclass(frozen=True)
class IngestBeside:
    """One stream, as fast as it can, while `askers` ask it."""

    askers: int
    frames_per_s: float
    answer_tokens_per_s: float


@dataclass(frozen=True)
class FirstTokensBeside:
    """One asker, one question after the other, while `streams` bring frames."""

    streams: int
    questions: int
    first_token_p50_s: float
    first_token_p95_s: float
    frames_share: float
    """Of the frames that the streams brought, those that were encoded by the end; 1 without any."""
    device_share: float
    """Of the time, in which rounds of the scheduler ran."""


@dataclass(frozen=True)
class UnderLoad:
    ingest: tuple[IngestBeside, ...]
    first_tokens: tuple[FirstTokensBeside, ...]


def measure_under_load(model: VideoLLM, config: VStreamConfig, options: LoadOptions) -> UnderLoad:
    """One after the other, on one model. Blocks go where `config` says."""
    most = max((*options.askers, 1))
    model.scheduler.limits = Limits(max_running=most, max_waiting=max(64, most))
    frames = made_up_frames(model.sample_fps)
    with open_session(config, model, "asked") as session:
        session.push(list(islice(frames, options.frames)))
        return UnderLoad(
            tuple(_ingest_beside(session, frames, n, options) for n in options.askers),
            tuple(_first_tokens_beside(session, config, n, options) for n in options.streams),
        )


def _ingest_beside(
    session: Session, frames: Iterator[Frame], num_askers: int, options: LoadOptions
) -> IngestBeside:
    model = session.model
    chunk = session.settings.chunk_blocks * model.family.frames_per_block
    with _asking(session, num_askers, options.answer_tokens) as told:
        tokens_before, pushed = told(), 0
        began = time.perf_counter()
        while time.perf_counter() < began + options.seconds:
            session.push(list(islice(frames, chunk)))
            pushed += chunk
        passed_s, tokens = time.perf_counter() - began, told() - tokens_before
    return IngestBeside(num_askers, round(pushed / passed_s, 2), round(tokens / passed_s, 2))


@contextmanager
def _asking(session: Session, num_askers: int, answer_tokens: int) -> Iterator["_TokensSoFar"]:
    """While it is entered so many ask on and on; it begins once each has had an answer."""
    told, stop = _TokensSoFar(num_askers), threading.Event()

    def ask(number: int) -> None:
        turn = number
        while not stop.is_set():
            answer = session.ask(varied_question(turn, answer_tokens)).answer
            told.add(number, len(answer.token_ids))
            turn += num_askers

    with ThreadPoolExecutor(max(1, num_askers)) as askers:
        asking = [askers.submit(ask, number) for number in range(num_askers)]
        try:
            while not told.has_all and not any(one.done() for one in asking):
                time.sleep(0.01)
            yield told
        finally:
            stop.set()
        for one in asking:
            one.result()


class _TokensSoFar:
    """Of all answers, as they end."""

    def __init__(self, num_askers: int) -> None:
        self._tokens = [0] * num_askers
        self._answers = [0] * num_askers

    def add(self, asker: int, tokens: int) -> None:
        self._tokens[asker] += tokens
        self._answers[asker] += 1

    @property
    def has_all(self) -> bool:
        return all(self._answers)

    def __call__(self) -> int:
        return sum(self._tokens)


def _first_tokens_beside(
    session: Session, config: VStreamConfig, num_streams: int, options: LoadOptions
) -> FirstTokensBeside:
    model = session.model
    with ExitStack() as opened:
        streams = [
            opened.enter_context(open_session(config, model, f"beside-{num_streams}-{number}"))
            for number in range(num_streams)
        ]
        with BusyDevice(model.scheduler) as busy, _flowing(streams, model.sample_fps) as share:
            first_tokens_s = _first_tokens(session, options)
            frames_share = share()
        return FirstTokensBeside(
            num_streams,
            len(first_tokens_s),
            round(float(np.percentile(first_tokens_s, 50)), 4),
            round(float(np.percentile(first_tokens_s, 95)), 4),
            round(frames_share, 3),
            round(busy.share, 3),
        )


def _first_tokens(session: Session, options: LoadOptions) -> list[float]:
    """Seconds, one question after the other; the first is not counted."""
    session.ask(varied_question(0, options.answer_tokens)).answer  # noqa: B018  it waits
    found: list[float] = []
    end = time.perf_counter() + options.seconds
    while not found or time.perf_counter() < end:
        asked = varied_question(len(found) + 1, options.answer_tokens)
        found.append(session.ask(asked).answer.timings_ms.ttft / 1000)
    return found


@contextmanager
def _flowing(streams: Sequence[Session], fps: float) -> Iterator["_Flow"]:
    """While it is entered each stream gets a frame when it is due; begins once each had a block."""
    flow = _Flow(fps, len(streams))
    with ThreadPoolExecutor(max(1, len(streams))) as pushing:
        running = [pushing.submit(flow.run, n, session) for n, session in enumerate(streams)]
        try:
            flow.await_first(running)
            yield flow
        finally:
            flow.stop.set()
        for one in running:
            one.result()


class _Flow:
    """Frames by the clock; called, it returns the share of those due that were encoded so far."""

    def __init__(self, fps: float, num_streams: int) -> None:
        self.stop = threading.Event()
        self._fps = fps
        self._began = time.monotonic()
        self._pushed = [0] * num_streams

    def run(self, number: int, session: Session) -> None:
        frames = made_up_frames(self._fps)
        offset_s = number / len(self._pushed) / self._fps  # cameras do not tick together
        while not self.stop.wait(self._due_s(number) + offset_s - time.monotonic()):
            session.push([next(frames)])
            self._pushed[number] += 1

    def await_first(self, running: Sequence[Future[None]]) -> None:
        """Until each stream had its first frame, or one has failed."""
        while not all(self._pushed) and not any(one.done() for one in running):
            time.sleep(0.01)

    def __call__(self) -> float:
        due = len(self._pushed) * (time.monotonic() - self._began) * self._fps
        return min(1.0, (sum(self._pushed) + len(self._pushed)) / due) if due else 1.0

    def _due_s(self, number: int) -> float:
        return self._began + self._pushed[number] / self._fps
