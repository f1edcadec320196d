"""SourceAddress: reads from a user's address its kind, what FFmpeg opens, and a name to show."""

import hashlib
import os
import re
import sys
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit
from urllib.request import url2pathname

from vstream.errors import SourceError

_USER_INFO = re.compile(r"^(\w[\w+.-]*:/+|(?=[^/\\]*:)).*@", re.DOTALL)  # scheme or no scheme
_SECRET_VALUE = re.compile(
    r"(?i)((?:user|usr|pas|psw|pwd|login|cred|token|key|secret|auth|sig)\w*=)[^&#]*"
)
_VIDEO_SUFFIXES = {".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpg", ".ogv", ".webm"}


class SourceKind(StrEnum):
    """How a source is opened."""

    FILE = "file"
    RTSP = "rtsp"
    HTTP = "http"
    WEBCAM = "webcam"


@dataclass(frozen=True)
class SourceAddress:
    """Where a source is. `target` may hold a password and is never shown; `name` is safe to show. A
    video file behind http(s), recognised by its suffix, is a FILE: it has an end and is read whole.
    """

    kind: SourceKind
    name: str
    target: str = field(repr=False)


def redacted(url: str) -> str:
    """Return `url` without user name, password, tokens or keys, wherever cameras put them. It hides
    rather too much: all before the last "@" goes, as a password may hold any character.
    """
    return _SECRET_VALUE.sub(r"\1***", _without_user(url))


def parse_address(url: str) -> SourceAddress:
    """Read the address in `url`. Raises SourceError (SOURCE_UNSUPPORTED) for other schemes."""
    # A file name may hold bytes that are no text, and the name must be shown.
    name = redacted(url).encode("utf-8", "backslashreplace").decode()
    if not url.strip():
        raise SourceError(
            "no source was given: name a file, a stream or a camera", "SOURCE_UNSUPPORTED"
        )
    try:
        urlsplit(url)
    except ValueError as error:
        raise SourceError(f"{name}: reading the address: {error}", "SOURCE_UNSUPPORTED") from None
    scheme = url.split(":", 1)[0].lower() if re.match(r"\w[\w+.-]+:", url) else ""
    if url.startswith("/dev/video"):
        return SourceAddress(SourceKind.WEBCAM, name, url)
    if scheme == "webcam":
        return SourceAddress(SourceKind.WEBCAM, name, _webcam_device(url.split(":", 1)[1], name))
    if scheme in ("rtsp", "rtsps"):
        return SourceAddress(SourceKind.RTSP, name, url)
    if scheme in ("http", "https"):
        is_file = PurePosixPath(urlsplit(url).path.lower()).suffix in _VIDEO_SUFFIXES
        return SourceAddress(SourceKind.FILE if is_file else SourceKind.HTTP, name, url)
    if scheme == "file":
        return SourceAddress(SourceKind.FILE, name, url2pathname(urlsplit(url).path))
    if "://" in url:
        raise SourceError(
            f"{name}: addresses that start with {scheme}:// are not read; give rtsp://, rtsps://, "
            "http(s)://, webcam:0, /dev/video0 or the path of a video file",
            "SOURCE_UNSUPPORTED",
        )
    return SourceAddress(SourceKind.FILE, _without_user(url), url)


def stream_id_of(url: str) -> str:
    """Return a slug of the source's name and a hash of what identifies it. A file is identified by
    path, size and modification time, so that a replaced file is a new stream; everything else by
    its whole address without user name and password.
    """
    address = parse_address(url)
    if address.kind is SourceKind.FILE and Path(address.target).is_file():
        path = Path(address.target).resolve()
        status = path.stat()
        identity, name = f"{path} {status.st_size} {status.st_mtime_ns}", path.stem
    else:
        parts = urlsplit(address.target)
        identity = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
        name = address.name
    slug = re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-").lower()[-40:] or "stream"
    return f"{slug}-{hashlib.sha256(os.fsencode(identity)).hexdigest()[:8]}"


def _without_user(url: str) -> str:
    return _USER_INFO.sub(r"\1***@", url)


def _webcam_device(number: str, name: str) -> str:
    if not number.isdecimal():
        raise SourceError(
            f"{name}: a webcam is named by its number, as webcam:0", "SOURCE_UNSUPPORTED"
        )
    return number if sys.platform == "darwin" else f"/dev/video{number}"
