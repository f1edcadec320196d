"""open_container: opens a file, stream or camera with FFmpeg, which may reach nothing else.

A playlist or an edit list names further addresses, and FFmpeg opens them. A source behind http may
lead it only to others behind http, never to a file of this machine. A confined source, whose
address comes from someone untrusted, is only read if its container names no other address at all (a
whitelist: FFmpeg has no blacklist), and follows no redirection.
"""

import sys
from urllib.parse import urlsplit

import av
from av.container import InputContainer

from vstream.sources.address import SourceAddress, SourceKind
from vstream.sources.config import SourceConfig
from vstream.sources.video_track import pixel_options

_BEHIND_HTTP = "http,https,tls,tcp,crypto,httpproxy,data"
_SELF_CONTAINED = (
    "mp4,matroska,avi,mpegts,mpeg,mpegvideo,flv,live_flv,ogg,asf,nut,h264,hevc,av1,mjpeg,mpjpeg,"
    "jpeg_pipe,gif"
)
# How much FFmpeg reads before it hands out the first frame. Its defaults cost 1 to 2 s per
# connection; FFmpeg's own low-latency flag (nobuffer) drops all up to the second key frame.
_SHORT_PROBE = {"analyzeduration": "100000", "probesize": "32768"}


def open_container(
    address: SourceAddress, config: SourceConfig, attempt: int = 1
) -> InputContainer:
    """Open or connect. `attempt` (1, 2, ...) picks the transport if that is automatic. Both
    timeouts are set: PyAV's covers whole calls, FFmpeg's own each wait on the socket. Raises
    av.error.FFmpegError.
    """
    is_webcam = address.kind is SourceKind.WEBCAM
    camera_format = "avfoundation" if sys.platform == "darwin" else "v4l2"
    return av.open(
        address.target,
        mode="r",
        format=camera_format if is_webcam else None,
        options={} if is_webcam else _options(address, config, attempt),
        metadata_errors="replace",
        timeout=(config.connect_timeout_s, config.read_timeout_s),
    )


def rtsp_transport(config: SourceConfig, attempt: int) -> str:
    """Return the transport of RTSP media in the `attempt`th connection."""
    if config.transport == "auto":
        return "tcp" if attempt % 2 else "udp"
    return config.transport


def _options(address: SourceAddress, config: SourceConfig, attempt: int) -> dict[str, str]:
    options = pixel_options(config.max_pixels)
    if config.tls_ca_file is not None:  # without TLS it has no effect
        options |= {"tls_verify": "1", "ca_file": config.tls_ca_file}
    timeout_us = str(round(max(config.connect_timeout_s, config.read_timeout_s) * 1e6))
    if address.kind is SourceKind.RTSP:  # its formats name no other address
        return (
            options
            | _SHORT_PROBE
            | {
                "timeout": timeout_us,
                "rtsp_transport": rtsp_transport(config, attempt),
                "allowed_media_types": "video",  # fetch no sound
            }
        )
    if address.kind is SourceKind.HTTP:
        options |= _SHORT_PROBE | {"timeout": timeout_us, "rw_timeout": timeout_us}
    is_http = urlsplit(address.target).scheme.lower() in ("http", "https")
    if is_http:
        options["protocol_whitelist"] = _BEHIND_HTTP
    if config.confined:
        options["format_whitelist"] = _SELF_CONTAINED
        options |= {"max_redirects": "0"} if is_http else {"protocol_whitelist": "file"}
    return options
