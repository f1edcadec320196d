"""SourceProcess: a source that is opened and decoded in a process of its own.

There it is an ordinary source. Its frames come through shared memory; its status, lines of the log
and requests to connect, which the parent permits, come through a connection. If the process crashes
or hangs, a live source goes on in a new one, as after a lost connection.
"""

import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from functools import partial
from typing import Any

import numpy as np
import structlog
from pydantic import TypeAdapter

from encoders import Frame
from memory.closing import Closing
from vstream.errors import SourceError
from vstream.sources.address import SourceAddress, SourceKind, parse_address
from vstream.sources.backoff import Backoff
from vstream.sources.config import SourceConfig, Speed
from vstream.sources.connect_filter import only_permitted
from vstream.sources.decoder_child import Link
from vstream.sources.decoder_process import DecoderProcess
from vstream.sources.errors import decoder_failed
from vstream.sources.file_stream import AHEAD, FileStream
from vstream.sources.frame_queue import FrameQueue
from vstream.sources.frame_source import FrameSource, open_source
from vstream.sources.network_address import AllowPrivate
from vstream.sources.privacy_mask import PrivacyMask
from vstream.sources.probe import LOOK_S, ProbeReport, probe_source
from vstream.sources.status import SourceCounts, SourceState, SourceStatus, sum_of

_FRAMES = 4
"""Frames of one source that fit in the memory it shares."""
_LOOK_S = 0.1
"""How often a process looks whether its status has changed."""
_CLOSE_S = 1.0
"""How long a process that was told to close may take."""
_MARGIN_S = 20.0
"""A process hangs if its status stays the same for this much longer than all timeouts of its source
together.
"""
log = structlog.get_logger()


Opening = Callable[..., FrameSource]
"""Opens the source, given `start_s` and `permit` as `open_source` takes them. It is pickled, and
the child imports the modules that it stands in, so they must be light.
"""


def open_apart(
    url: str,
    config: SourceConfig,
    *,
    start_s: float = 0.0,
    wants: Callable[[float], bool],
    speed: Speed = "max",
    loop: bool = False,
    keep_trying: bool = False,
    permit: Callable[[str], None] = lambda url: None,
    sample_fps: float | None = None,
    mask: PrivacyMask | None = None,
) -> FrameSource:
    """Do as `open_source` does, in a process of its own where the system has what that takes
    (Linux). A copy of `wants` is asked there, so it must be picklable, as a FrameSampler's is.
    """
    address = parse_address(url)
    opening = partial(
        open_source,
        url,
        config,
        wants=wants,
        speed=speed,
        loop=loop,
        keep_trying=keep_trying,
        sample_fps=sample_fps,
        mask=mask,
    )
    return _opened_apart(
        address.name,
        opening,
        config,
        start_s=start_s,
        permit=partial(permit, url),
        speed=speed if address.kind is SourceKind.FILE else None,
        keep_trying=keep_trying,
    )


def clip_apart(
    address: SourceAddress, config: SourceConfig, wants: Callable[[float], bool]
) -> FrameSource:
    """Read a file as fast as its reader takes it. Raises what FileStream raises."""
    opening = partial(_opened_clip, address, config, wants)
    return _opened_apart(address.name, opening, config, speed="max")


def _opened_clip(
    address: SourceAddress,
    config: SourceConfig,
    wants: Callable[[float], bool],
    *,
    start_s: float,
    permit: Callable[[str], None],
) -> FileStream:
    return FileStream(address, config, start_s=start_s, wants=wants, speed="max")


def _opened_apart(
    name: str,
    opening: Opening,
    config: SourceConfig,
    *,
    start_s: float = 0.0,
    permit: Callable[[], None] = lambda: None,
    speed: Speed | None = None,
    keep_trying: bool = False,
) -> FrameSource:
    """A live source has no `speed`. Raises what `opening` raises."""
    if sys.platform != "linux":
        return opening(start_s=start_s, permit=lambda url: permit())
    return SourceProcess(name, opening, config, start_s, permit, speed, keep_trying)


def probe_apart(url: str, config: SourceConfig, permit: Callable[[str], None]) -> ProbeReport:
    """Do as `probe_source` does, in a process of its own. Raises the same, and SourceError
    (DECODER_FAILED).
    """
    if sys.platform != "linux":
        return probe_source(url, config, permit)
    name = parse_address(url).name
    with DecoderProcess(1, partial(permit, url), _probe, url, config) as process:
        try:
            message = process.hear(config.connect_timeout_s + LOOK_S + _MARGIN_S)
        except EOFError:
            raise decoder_failed(name, "crashed") from None
        if message is None:
            process.kill()
            raise decoder_failed(name, "hung")
        return TypeAdapter(ProbeReport).validate_python(message[1])


def _probe(link: Link, url: str, config: SourceConfig) -> dict[str, Any]:
    only_permitted(config.allow_private)
    return asdict(probe_source(url, config, permit=lambda url: link.permit()))


class SourceProcess(Closing):
    """A FrameSource whose frames are decoded in another process."""

    def __init__(
        self,
        name: str,
        opening: Opening,
        config: SourceConfig,
        start_s: float,
        permit: Callable[[], None],
        speed: Speed | None,
        keep_trying: bool,
    ) -> None:
        """`speed` is a file's. Raises what `opening` raises, and SourceError (DECODER_FAILED)."""
        self.name = name
        self.is_live = speed != "max"
        self._is_file = speed is not None
        self._opening, self._config, self._permit = opening, config, permit
        self._start_s, self._opened_at = start_s, time.monotonic()
        self._keep_trying = keep_trying
        self._frame_bytes = 3 * min(config.max_pixels, (config.max_side or config.max_pixels) ** 2)
        self._queue = FrameQueue(config.queue_frames if self.is_live else AHEAD)
        self._delivered = 0
        self._is_read = False
        self._newest_status = SourceStatus(SourceState.CONNECTING, SourceCounts())
        self._heard_at = self._changed_at = time.monotonic()
        self._before = SourceCounts()
        """Those of processes that failed."""
        self._newest: tuple[float, float] | None = None
        """Stream time of the newest frame, and when it came by the monotonic clock."""
        self._closing = threading.Event()
        self._process = self._started()
        try:
            while self._heard(self._process) != "opened":
                if self._hangs():
                    raise decoder_failed(name, "hung")
        except EOFError:
            self._process.close()
            raise decoder_failed(name, "crashed") from None
        except BaseException:
            self._process.kill()
            self._process.close()
            raise
        self._thread = threading.Thread(target=self._run, name=f"hear {name}", daemon=True)
        self._thread.start()

    @property
    def status(self) -> SourceStatus:
        """A file is running until its reader has had the last frame, wherever the decoder is."""
        heard, at = self._newest_status, self._heard_at
        counts = sum_of(self._before, heard.counts)
        counts.frames_stale += self._queue.num_dropped
        counts.frames_delivered = self._delivered
        age_s = heard.last_frame_age_s
        age_s = None if age_s is None else age_s + time.monotonic() - at
        is_over = not self._is_file or self._is_read or self._closing.is_set()
        state = heard.state if is_over else SourceState.RUNNING
        return SourceStatus(state, counts, heard.last_error if is_over else None, age_s)

    @property
    def has_waiting(self) -> bool:
        return not self.is_live or bool(self._queue)

    def __iter__(self) -> Iterator[Frame]:
        """Ends at `close`. Raises SourceError if the source fails for good."""
        try:
            for frame in self._queue:
                self._delivered += 1
                yield frame
        finally:
            self._is_read = True

    def close(self) -> None:
        """End the iteration and the process, which is killed if it does not end by itself."""
        self._closing.set()
        self._queue.discard()
        self._process.send("close")
        self._thread.join()
        self._newest_status = replace(self._newest_status, state=SourceState.ENDED)

    def _started(self) -> DecoderProcess:
        given = self._opening, self._config.allow_private, self._now_s(), self._frame_bytes
        try:
            return DecoderProcess(_FRAMES * self._frame_bytes, self._permit, _serve, *given)
        except OSError as error:
            raise decoder_failed(self.name, f"cannot be started: {error.strerror}") from error

    def _now_s(self) -> float:
        """Return the stream time at which a process begins."""
        if self._newest is not None:
            return self._newest[0] + time.monotonic() - self._newest[1]
        if self._is_file or not self._start_s:
            return self._start_s
        return self._start_s + time.monotonic() - self._opened_at

    def _run(self) -> None:
        backoff = Backoff(self._config.retry_min_s, self._config.retry_max_s)
        try:
            while True:
                began = time.monotonic()
                with self._process as process:
                    failure = self._heard_out(process)
                if failure is None or self._closing.is_set():
                    return
                if time.monotonic() - began >= self._config.stable_s:
                    backoff.reset()
                self._go_on_after(failure)
                if self._closing.wait(backoff.next_s()):
                    return
                self._process = self._started()
        except Exception as error:
            if not isinstance(error, SourceError):
                log.exception("watching failed", source=self.name)
            self._queue.end(error)
        finally:
            self._queue.end()

    def _heard_out(self, process: DecoderProcess) -> SourceError | None:
        """Hear a process until it ends; return why it failed. Raises as `hear` does."""
        close_by: float | None = None
        while True:
            try:
                kind = self._heard(process)
            except EOFError:
                process.kill()  # it may only have sent what makes no sense
                return decoder_failed(self.name, "crashed")
            if kind == "returned":
                return None
            if self._hangs():
                process.kill()
                return decoder_failed(self.name, "hung")
            if self._closing.is_set():
                if close_by is None:  # `close` may have told the process before this one
                    process.send("close")
                    close_by = time.monotonic() + _CLOSE_S
                elif time.monotonic() > close_by:
                    process.kill()

    def _go_on_after(self, failure: SourceError) -> None:
        """Raise the failure of a source for which no other process is started."""
        is_given_up = self._newest is None and not self._keep_trying
        self._before = sum_of(self._before, self._newest_status.counts)
        state = SourceState.ERROR if self._is_file or is_given_up else SourceState.RECONNECTING
        self._newest_status = SourceStatus(state, SourceCounts(), failure)
        log.error("a decoder failed", source=self.name, reason=str(failure))
        if state is SourceState.ERROR:
            raise failure
        self._before.reconnects += 1

    def _hangs(self) -> bool:
        """Return whether nothing has changed for longer than the source itself would wait."""
        config = self._config
        if self._is_file and (self.is_live or self._queue):
            self._changed_at = time.monotonic()  # it may wait for its time, or for its reader
        most_s = config.connect_timeout_s + config.read_timeout_s + config.retry_max_s + _MARGIN_S
        return time.monotonic() - self._changed_at > most_s

    def _heard(self, process: DecoderProcess) -> str | None:
        """Hear one message and act on it; return its kind. Raises as `hear` does."""
        message = process.hear(_CLOSE_S)
        if message is None:
            return None
        kind, *values = message
        try:
            if kind == "status":
                self._take_status(*values)
            elif kind == "frame":
                self._take_frame(process, *values)
        except (TypeError, ValueError) as error:
            raise EOFError from error
        return str(kind)

    def _take_status(
        self,
        state: str,
        counts: dict[str, int],
        error: tuple[str, str] | None,
        age_s: float | None,
        at: float,
    ) -> None:
        fault = None if error is None else SourceError(*error)
        status = SourceStatus(SourceState(state), SourceCounts(**counts), fault, age_s)
        before, self._newest_status, self._heard_at = self._newest_status, status, at
        if (before.state, before.counts) != (status.state, status.counts):
            self._changed_at = time.monotonic()

    def _take_frame(
        self, process: DecoderProcess, place: int, shape: Sequence[int], *times: float
    ) -> None:
        if self.is_live or self._queue.await_room():
            count = int(np.prod(shape))
            found = np.frombuffer(process.memory, np.uint8, count, place * self._frame_bytes)
            self._newest = times[0], time.monotonic()
            self._queue.put(Frame(found.reshape(shape).copy(), *times))
        process.send("free", place)


def _serve(
    link: Link, opening: Opening, allow_private: AllowPrivate, start_s: float, frame_bytes: int
) -> None:
    """Open a source and send what comes from it: what the process does."""
    only_permitted(allow_private)
    with opening(start_s=start_s, permit=lambda url: link.permit()) as source:
        link.on_close = partial(_close, link, source)
        _tell(link, source.status)
        link.send("opened")
        threading.Thread(target=_tell_changes, args=(link, source), daemon=True).start()
        for place in range(_FRAMES):
            link.free.put(place)
        try:
            for frame in source:
                if (place := link.free.get()) < 0:
                    return
                shared = np.frombuffer(
                    link.memory, np.uint8, frame.pixels.size, place * frame_bytes
                )
                shared[:] = frame.pixels.ravel()
                _tell(link, source.status)
                times = frame.stream_s, frame.captured_at
                link.send("frame", place, frame.pixels.shape, *times)
        finally:
            _tell(link, source.status)


def _close(link: Link, source: FrameSource) -> None:
    source.close()
    link.free.put(-1)


def _tell(link: Link, status: SourceStatus) -> None:
    fault, age_s = status.last_error, status.last_frame_age_s
    error = None if fault is None else (str(fault), fault.code)
    link.send("status", status.state, vars(status.counts), error, age_s, time.monotonic())


def _tell_changes(link: Link, source: FrameSource) -> None:
    before = None
    while True:
        time.sleep(_LOOK_S)
        status = source.status
        if (now := (status.state, status.counts, str(status.last_error))) != before:
            _tell(link, status)
            before = now
