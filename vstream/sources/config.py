"""SourceConfig: how video is fetched, timed out, scaled and thinned, for every kind of source."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Decode = Literal["auto", "keyframes", "all"]
Speed = Annotated[float, Field(gt=0, le=100)] | Literal["max"]
"""How fast a file plays: 1 as it was recorded; max as fast as it is read, without loss."""


class SourceConfig(BaseModel):
    """Settings of a file, stream or camera. Times are wall-clock seconds unless said otherwise."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    transport: Literal["tcp", "udp", "auto"] = Field(
        default="tcp",
        description="How RTSP media travels; auto tries tcp, then udp, in turn until frames come.",
    )
    tls_ca_file: str | None = Field(
        default=None,
        description="File of certificates (PEM) that rtsps:// and https:// servers must be signed "
        "by; unset takes any certificate, as cameras sign their own.",
    )
    connect_timeout_s: float = Field(
        default=10.0,
        gt=0,
        le=300,
        description="Longest wait for one connection to open, and of a one-shot reader for its "
        "first frame, in seconds.",
    )
    read_timeout_s: float = Field(
        default=10.0,
        gt=0,
        le=300,
        description="A live stream without a frame for this many seconds is connected again.",
    )
    stall_s: float = Field(
        default=3.0,
        gt=0,
        le=300,
        description="A live stream without a frame for this many seconds is reported as stalled.",
    )
    retry_min_s: float = Field(
        default=1.0,
        gt=0,
        le=60,
        description="Longest wait before the first reconnection, in seconds.",
    )
    retry_max_s: float = Field(
        default=30.0,
        gt=0,
        le=3600,
        description="Longest wait between reconnections after repeated failures, in seconds.",
    )
    stable_s: float = Field(
        default=30.0,
        ge=0,
        le=3600,
        description="A connection that lived this many seconds makes the wait short again.",
    )
    decode: Decode = Field(
        default="auto",
        description="Which frames of a live stream are decoded: all; keyframes alone; or auto: key "
        "frames while they come as often as frames are sampled, else all.",
    )
    queue_frames: int = Field(
        default=2,
        ge=1,
        le=64,
        description="Frames that wait for a slow reader of a live source; older ones are dropped.",
    )
    max_side: int | None = Field(
        default=640,
        ge=16,
        le=8192,
        description="The longer side of a delivered frame in pixels at most; null keeps the size.",
    )
    max_pixels: int = Field(
        default=40_000_000,
        ge=1,
        description="A source or a pushed frame of more pixels is refused before it is decoded.",
    )
    confined: bool = Field(
        default=False,
        description="Read only containers that name no other address (no HLS, no DASH), and follow "
        "no HTTP redirection.",
    )
    sample_fps: float | None = Field(
        None,
        gt=0,
        le=60,
        description="Frames that are encoded per second of stream at most; unset is what the "
        "model recommends.",
    )
    dedup_threshold: float = Field(
        default=1.5,
        ge=0,
        le=255,
        description="A frame is skipped if no part of it differs from the last kept one by this "
        "much, in levels of 0 to 255; 0 keeps every frame.",
    )
    max_gap_s: float = Field(
        default=60.0,
        gt=0,
        description="An unchanged picture is kept again after this many seconds of stream.",
    )
