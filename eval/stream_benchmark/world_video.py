"""WorldVideo: a stream-world script as footage for a player, drawn frame by frame."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from encoders import Frame
from eval.stream_world import WORLD_PX, Renderer, Script
from memory.closing import Closing
from vstream import VideoLLM
from vstream.sources.frame_source import FrameSource
from vstream.sources.status import SourceCounts, SourceState, SourceStatus
from vstream.sources.video_file import SAME_MOMENT_S

_FRAME_PX = 384
"""Of the frames shown to models other than the embedded one."""


def frame_px_of(model: VideoLLM) -> int:
    return WORLD_PX if model.family.name == "embedded" else _FRAME_PX


@dataclass(frozen=True, eq=False)
class WorldVideo:
    """One frame a second."""

    name: str
    script: Script
    side_px: int

    @property
    def duration_s(self) -> float:
        return float(len(self.script.moments))

    def frames_at(self, seconds: Sequence[float]) -> list[Frame]:
        renderer = Renderer(self.side_px)
        return [_frame(renderer, self.script, int(s + SAME_MOMENT_S)) for s in seconds]

    def open(self, start_s: float, wants: Callable[[float], bool]) -> FrameSource:
        return _Drawn(self, start_s, wants)


class _Drawn(Closing):
    """A FrameSource that waits for its reader, like a file."""

    is_live = False
    has_waiting = True

    def __init__(self, video: WorldVideo, start_s: float, wants: Callable[[float], bool]) -> None:
        self.name = video.name
        self._video, self._start_s, self._wants = video, start_s, wants
        self._renderer = Renderer(video.side_px)
        self._counts = SourceCounts()
        self._is_closed = False

    @property
    def status(self) -> SourceStatus:
        state = SourceState.ENDED if self._is_closed else SourceState.RUNNING
        return SourceStatus(state, self._counts)

    def __iter__(self) -> Iterator[Frame]:
        for second in range(int(self._start_s), len(self._video.script.moments)):
            if self._is_closed:
                return
            self._counts.frames_received += 1
            if self._wants(float(second)):
                yield _frame(self._renderer, self._video.script, second)

    def close(self) -> None:
        self._is_closed = True


def _frame(renderer: Renderer, script: Script, second: int) -> Frame:
    moment = script.moments[second]
    return Frame(renderer.frame(moment), float(moment.time_s), 0.0)
