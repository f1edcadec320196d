"""reach_options: a source's address in, FFmpeg's options out that bound what else it may open.

A playlist or an edit list names further addresses, and FFmpeg opens them. A source behind http may
lead it only to others behind http, never to a file of this machine. A confined source, whose
address comes from someone who is not trusted, is only read if its container names no other address
at all (a whitelist: FFmpeg has no blacklist), and follows no redirection.
"""

from urllib.parse import urlsplit

from vstream.sources.address import SourceAddress, SourceKind
from vstream.sources.config import SourceConfig

_BEHIND_HTTP = "http,https,tls,tcp,crypto,httpproxy,data"
_SELF_CONTAINED = (
    "mp4,matroska,avi,mpegts,mpeg,mpegvideo,flv,live_flv,ogg,asf,nut,h264,hevc,av1,mjpeg,mpjpeg,"
    "jpeg_pipe,gif"
)


def reach_options(address: SourceAddress, config: SourceConfig) -> dict[str, str]:
    """Options for `av.open`; none for RTSP and webcams, whose formats name no other address."""
    if address.kind in (SourceKind.RTSP, SourceKind.WEBCAM):
        return {}
    is_http = urlsplit(address.target).scheme.lower() in ("http", "https")
    options = {"protocol_whitelist": _BEHIND_HTTP} if is_http else {}
    if config.confined:
        options["format_whitelist"] = _SELF_CONTAINED
        if is_http:
            options["max_redirects"] = "0"
        else:
            options["protocol_whitelist"] = "file"
    return options
