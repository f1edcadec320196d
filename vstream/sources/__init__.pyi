from .config import SourceConfig, Speed
from .frame_source import FrameSource, open_source
from .permission import SourcePolicy
from .privacy_mask import PrivacyMask
from .probe import ProbeReport, probe_source
from .pushed_frames import PushedFrames, PushOutcome
from .status import SourceCounts, SourceState, SourceStatus
from .video_file import VideoFile

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
