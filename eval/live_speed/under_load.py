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
from eval.live_speed.passing_session import passing_session
from eval.measured_questions import MeasuredQuestions, unending
from eval.speed import camera_frames, made_up_frames
from vstream import Session, VideoLLM, VStreamConfig
from vstream.device.scheduler import Limits

_POOL = 64
"""Distinct frames of the streams that flow."""


@dataclass(frozen=True)
class LoadOptions:
    """How much is measured: each number of askers, then each number of streams, for `seconds`."""

    frames: int = 256
    """Of the stream that is asked, before anything is measured."""
    seconds: float = 10.0
    has_camera_frames: bool = False
    """Frames as large as a camera's, see `eval.speed`."""
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
    """Of the frames that were due from the streams, those that were encoded; 1 without any."""
    device_share: float
    """Of the time, in which rounds of the scheduler ran."""


@dataclass(frozen=True)
class UnderLoad:
    ingest: tuple[IngestBeside, ...]
    first_tokens: tuple[FirstTokensBeside, ...]


def measure_under_load(model: VideoLLM, config: VStreamConfig, options: LoadOptions) -> UnderLoad:
    """One after the other, on one model. Blocks go where `config` says, and are erased."""
    most = max((*options.askers, 1))
    model.scheduler.limits = Limits(max_running=most, max_waiting=max(64, most))
    model = unending(model)
    frames = _frames(model, options)
    with passing_session(config, model) as session:
        session.push(list(islice(frames, options.frames)))
        return UnderLoad(
            tuple(_ingest_beside(session, frames, n, options) for n in options.askers),
            tuple(_first_tokens_beside(session, config, n, options) for n in options.streams),
        )


def _frames(model: VideoLLM, options: LoadOptions) -> Iterator[Frame]:
    draw = camera_frames if options.has_camera_frames else made_up_frames
    return draw(model.sample_fps)


def _ingest_beside(
    session: Session, frames: Iterator[Frame], num_askers: int, options: LoadOptions
) -> IngestBeside:
    chunk = session.chunk_blocks * session.model.family.frames_per_block
    with _asking(session, num_askers) as told:
        pushed, began = 0, time.perf_counter()
        while time.perf_counter() < began + options.seconds:
            session.push_ahead(list(islice(frames, chunk)))
            pushed += chunk
        session.catch_up()
        ended = time.perf_counter()
    passed_s = ended - began
    tokens = sum(answer.tokens_between(began, ended) for answer in told)
    return IngestBeside(num_askers, round(pushed / passed_s, 2), round(tokens / passed_s, 2))


@dataclass(frozen=True)
class _Told:
    """One answer: when its first and its last token came, and how many there were."""

    first: float
    last: float
    tokens: int

    def tokens_between(self, began: float, ended: float) -> float:
        """As if they had come evenly."""
        inside = min(self.last, ended) - max(self.first, began)
        length = self.last - self.first
        if length <= 0:
            return self.tokens if began <= self.first < ended else 0
        return self.tokens * max(0.0, inside) / length


@contextmanager
def _asking(session: Session, num_askers: int) -> Iterator[Sequence[_Told]]:
    """While it is entered so many ask on and on; it begins once each has had an answer.

    What was told is complete afterwards.
    """
    told: list[_Told] = []
    answered: set[int] = set()
    questions = MeasuredQuestions(session.model.family)
    stop = threading.Event()

    def ask(number: int) -> None:
        turn = number
        while not stop.is_set():
            asked = time.perf_counter()
            answer = session.ask(questions(turn)).answer
            first, last = (
                asked + ms / 1000 for ms in (answer.timings_ms.ttft, answer.timings_ms.total)
            )
            told.append(_Told(first, last, len(answer.token_ids)))
            answered.add(number)
            turn += num_askers

    with ThreadPoolExecutor(max(1, num_askers)) as askers:
        asking = [askers.submit(ask, number) for number in range(num_askers)]
        try:
            while len(answered) < num_askers and not _has_failed(asking):
                time.sleep(0.01)
            yield told
        finally:
            stop.set()
        for one in asking:
            one.result()


def _first_tokens_beside(
    session: Session, config: VStreamConfig, num_streams: int, options: LoadOptions
) -> FirstTokensBeside:
    model, questions = session.model, MeasuredQuestions(session.model.family)
    with ExitStack() as opened:
        streams = [opened.enter_context(passing_session(config, model)) for _ in range(num_streams)]
        with _flowing(streams, model, options) as flow:
            session.ask(questions(0)).answer  # noqa: B018  it waits
            with BusyDevice(model.scheduler) as busy:
                first_tokens_s = _first_tokens(session, questions, options.seconds)
            frames_share = flow.share()
        return FirstTokensBeside(
            num_streams,
            len(first_tokens_s),
            round(float(np.percentile(first_tokens_s, 50)), 4),
            round(float(np.percentile(first_tokens_s, 95)), 4),
            round(frames_share, 3),
            round(busy.share, 3),
        )


def _first_tokens(session: Session, questions: MeasuredQuestions, seconds: float) -> list[float]:
    """Seconds, one question after the other."""
    found: list[float] = []
    end = time.perf_counter() + seconds
    while not found or time.perf_counter() < end:
        found.append(session.ask(questions(len(found) + 1)).answer.timings_ms.ttft / 1000)
    return found


@contextmanager
def _flowing(
    streams: Sequence[Session], model: VideoLLM, options: LoadOptions
) -> Iterator["_Flow"]:
    """While it is entered each stream gets a frame when it is due; each has a block before."""
    pool = list(islice(_frames(model, options), _POOL)) if streams else []
    flow = _Flow(pool, model.sample_fps, len(streams))
    for session in streams:
        session.push([flow.frame(n) for n in range(model.family.frames_per_block)])
    with ThreadPoolExecutor(max(1, len(streams))) as pushing:
        flow.begin(model.family.frames_per_block)
        running = [pushing.submit(flow.run, n, session) for n, session in enumerate(streams)]
        try:
            yield flow
        finally:
            flow.stop.set()
        for one in running:
            one.result()


class _Flow:
    """Frames by the clock, into several streams."""

    def __init__(self, pool: Sequence[Frame], fps: float, num_streams: int) -> None:
        self.stop = threading.Event()
        self._pool = pool
        self._fps = fps
        self._pushed = [0] * num_streams
        self._first = 0
        self._began = 0.0

    def begin(self, first: int) -> None:
        """From now on frames are due, of each stream from that number on."""
        self._first, self._began = first, time.monotonic()

    def frame(self, number: int) -> Frame:
        """One of the pool, over and over, with times that go on."""
        return Frame(self._pool[number % _POOL].pixels, number / self._fps, time.time())

    def run(self, stream: int, session: Session) -> None:
        while not self.stop.wait(self._due(stream) - time.monotonic()):
            session.push_ahead([self.frame(self._first + self._pushed[stream])])
            self._pushed[stream] += 1
        session.catch_up()

    def share(self) -> float:
        """Of the frames that were due so far, but for those that are just being encoded."""
        passed_s = time.monotonic() - self._began
        due = [int((passed_s - self._offset_s(n)) * self._fps) for n in range(len(self._pushed))]
        wanted = sum(max(0, one) for one in due)
        return min(1.0, sum(self._pushed) / wanted) if wanted else 1.0

    def _due(self, stream: int) -> float:
        return self._began + self._offset_s(stream) + self._pushed[stream] / self._fps

    def _offset_s(self, stream: int) -> float:
        """Cameras do not tick together."""
        return stream / len(self._pushed) / self._fps


def _has_failed(running: Sequence[Future[None]]) -> bool:
    return any(one.done() for one in running)
