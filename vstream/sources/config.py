"""SourceConfig: how to fetch, time out, scale and thin out video, for every kind of source."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from vstream.sources.network_address import AllowPrivate

Decode = Literal["auto", "keyframes", "all"]
Speed = Annotated[float, Field(gt=0, le=100)] | Literal["max"]
"""How fast a file plays: 1 is real time; max is as fast as it can be read, without loss."""


class SourceConfig(BaseModel):
    """Settings of a file, stream or camera. Times are wall-clock seconds unless noted."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    transport: Literal["tcp", "udp", "auto"] = "tcp"
    """RTSP transport; auto alternates between tcp and udp until frames come."""
    tls_ca_file: str | None = Field(
        None,
        description="PEM file of the CAs to trust for rtsps:// and https:// servers; unset: accept "
        "any certificate, since cameras sign their own.",
    )
    connect_timeout_s: float = Field(
        10.0,
        gt=0,
        le=300,
        description="Longest wait for a connection to open and, in one-shot commands, for the "
        "first frame, in seconds.",
    )
    read_timeout_s: float = Field(10.0, gt=0, le=300)
    """Reconnect to a live stream after this many seconds without a frame."""
    stall_s: float = Field(3.0, gt=0, le=300)
    """Report a live stream as stalled after this many seconds without a frame."""
    retry_min_s: float = Field(1.0, gt=0, le=60)
    """Longest wait before the first reconnection, in seconds."""
    retry_max_s: float = Field(30.0, gt=0, le=3600)
    """Longest wait between reconnections after repeated failures, in seconds."""
    stable_s: float = Field(30.0, ge=0, le=3600)
    """Reset the wait to the shortest after a connection has lasted this many seconds."""
    decode: Decode = Field(
        "auto",
        description="Which frames of a live stream to decode: all; only keyframes; or auto: only "
        "keyframes while they come at least as often as frames are sampled, else all.",
    )
    queue_frames: int = Field(2, ge=1, le=64)
    """Frames of a live source that may wait for a slow reader; older ones are dropped."""
    max_side: int | None = Field(640, ge=16, le=8192)
    """Longest side of a delivered frame, in pixels; null keeps the original size."""
    max_pixels: int = Field(40_000_000, ge=1)
    """Refuse a source or a pushed frame with more pixels, before decoding it."""
    confined: bool = Field(
        False,
        description="Refuse containers that point to other addresses (HLS, DASH) and HTTP "
        "redirects.",
    )
    allow_private: AllowPrivate = Field(
        True,
        description="Private networks that a source may reach, wherever its server leads; true: "
        "all; false: none, only public addresses.",
    )
    sample_fps: float | None = Field(None, gt=0, le=60)
    """Most frames to encode per second of stream; unset: what the model recommends."""
    dedup_threshold: float = Field(
        1.5,
        ge=0,
        le=255,
        description="Skip a frame if no part of it differs from the last kept one by this much, "
        "on a scale of 0 to 255; 0 keeps every frame.",
    )
    max_gap_s: float = Field(60.0, gt=0)
    """Keep a frame even if nothing changed after this many seconds of stream."""
