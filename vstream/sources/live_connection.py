"""open_live: the address of a camera in, an open container of its live video out."""

import sys
from collections.abc import Callable

import av
from av.container import InputContainer
from av.error import FFmpegError, OSError

from vstream.errors import SourceError
from vstream.sources.address import SourceAddress, SourceKind
from vstream.sources.config import SourceConfig
from vstream.sources.errors import stream_error
from vstream.sources.reach import reach_options
from vstream.sources.tls import tls_fault, tls_options
from vstream.sources.video_track import PixelBound

# How much FFmpeg looks at before it hands out the first frame. Its defaults cost 1 to 2 s a
# connection; FFmpeg's own low-latency flag (nobuffer) throws away all up to the second key frame.
_SHORT_PROBE = {"analyzeduration": "100000", "probesize": "32768"}


def open_live(address: SourceAddress, config: SourceConfig, attempt: int) -> InputContainer:
    """Connect. `attempt` (1, 2, ...) picks the transport where that is automatic.

    Both timeouts are set: PyAV's covers whole calls, FFmpeg's own each wait on the socket.
    Raises av.error.FFmpegError.
    """
    if address.kind is SourceKind.WEBCAM:
        return av.open(
            address.target,
            mode="r",
            format="avfoundation" if sys.platform == "darwin" else "v4l2",
            timeout=(config.connect_timeout_s, config.read_timeout_s),
        )
    return av.open(
        address.target,
        mode="r",
        options=_SHORT_PROBE
        | _network_options(address, config, attempt)
        | reach_options(address, config)
        | tls_options(config)
        | PixelBound(address.name, config.max_pixels).options,
        metadata_errors="replace",
        timeout=(config.connect_timeout_s, config.read_timeout_s),
    )


def connection_error(
    error: FFmpegError, address: SourceAddress, config: SourceConfig, permit: Callable[[], None]
) -> SourceError:
    """What went wrong in `open_live`.

    May look at the server once more, for seconds at most, if `permit` does not raise SourceError.
    """
    fault = None
    if type(error) is OSError:  # FFmpeg's, and no subclass: an input/output error of any cause
        try:
            permit()
            fault = tls_fault(address, config)
        except SourceError as refusal:
            fault = refusal
    return fault or stream_error(error, address.name, "connecting")


def _network_options(address: SourceAddress, config: SourceConfig, attempt: int) -> dict[str, str]:
    longest_s = max(config.connect_timeout_s, config.read_timeout_s)
    timeout_us = str(round(longest_s * 1e6))
    if address.kind is SourceKind.HTTP:
        return {"timeout": timeout_us, "rw_timeout": timeout_us}
    return {
        "timeout": timeout_us,
        "rtsp_transport": rtsp_transport(config, attempt),
        "allowed_media_types": "video",  # leave the sound where it is
    }


def rtsp_transport(config: SourceConfig, attempt: int) -> str:
    """What RTSP media travels over in the `attempt`th connection."""
    if config.transport == "auto":
        return "tcp" if attempt % 2 else "udp"
    return config.transport
