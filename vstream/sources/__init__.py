"""Where frames come from: an address in, frames with stream time out."""

from vstream.sources.config import SourceConfig, Speed
from vstream.sources.frame_source import FrameSource, open_source
from vstream.sources.permission import SourcePolicy
from vstream.sources.privacy_mask import PrivacyMask
from vstream.sources.probe import ProbeReport, probe_source
from vstream.sources.pushed_frames import PushedFrames, PushOutcome
from vstream.sources.status import SourceCounts, SourceState, SourceStatus
from vstream.sources.video_file import VideoFile

__all__ = [
    "FrameSource",
    "PrivacyMask",
    "ProbeReport",
    "PushOutcome",
    "PushedFrames",
    "SourceConfig",
    "SourceCounts",
    "SourcePolicy",
    "SourceState",
    "SourceStatus",
    "Speed",
    "VideoFile",
    "open_source",
    "probe_source",
]
