"""SourceConfig: how video is fetched, timed out, scaled and thinned, for every kind of source."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Decode = Literal["auto", "keyframes", "all"]
Speed = Annotated[float, Field(gt=0, le=100)] | Literal["max"]
"""How fast a file plays: 1 as it was recorded; max as fast as it is read, without loss."""


class SourceConfig(BaseModel):
    """Settings of a file, stream or camera. Times are wall-clock seconds unless said otherwise."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    transport: Literal["tcp", "udp", "auto"] = "tcp"
    """How RTSP media travels; auto tries tcp, then udp, in turn until frames come."""
    tls_ca_file: str | None = Field(
        None,
        description="File of certificates (PEM) that rtsps:// and https:// servers must be signed "
        "by; unset takes any certificate, as cameras sign their own.",
    )
    connect_timeout_s: float = Field(
        10.0,
        gt=0,
        le=300,
        description="Longest wait for one connection to open, and of a one-shot reader for its "
        "first frame, in seconds.",
    )
    read_timeout_s: float = Field(10.0, gt=0, le=300)
    """A live stream without a frame for this many seconds is connected again."""
    stall_s: float = Field(3.0, gt=0, le=300)
    """A live stream without a frame for this many seconds is reported as stalled."""
    retry_min_s: float = Field(1.0, gt=0, le=60)
    """Longest wait before the first reconnection, in seconds."""
    retry_max_s: float = Field(30.0, gt=0, le=3600)
    """Longest wait between reconnections after repeated failures, in seconds."""
    stable_s: float = Field(30.0, ge=0, le=3600)
    """A connection that lived this many seconds makes the wait short again."""
    decode: Decode = Field(
        "auto",
        description="Which frames of a live stream are decoded: all; keyframes alone; or auto: key "
        "frames while they come as often as frames are sampled, else all.",
    )
    queue_frames: int = Field(2, ge=1, le=64)
    """Frames that wait for a slow reader of a live source; older ones are dropped."""
    max_side: int | None = Field(640, ge=16, le=8192)
    """The longer side of a delivered frame in pixels at most; null keeps the size."""
    max_pixels: int = Field(40_000_000, ge=1)
    """A source or a pushed frame of more pixels is refused before it is decoded."""
    confined: bool = Field(
        False,
        description="Read only containers that name no other address (no HLS, no DASH), and follow "
        "no HTTP redirection.",
    )
    sample_fps: float | None = Field(None, gt=0, le=60)
    """Frames that are encoded per second of stream at most; unset is what the model recommends."""
    dedup_threshold: float = Field(
        1.5,
        ge=0,
        le=255,
        description="A frame is skipped if no part of it differs from the last kept one by this "
        "much, in levels of 0 to 255; 0 keeps every frame.",
    )
    max_gap_s: float = Field(60.0, gt=0)
    """An unchanged picture is kept again after this many seconds of stream."""
