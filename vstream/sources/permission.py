"""SourcePolicy: says whether a caller of the API may name the address of a source.

Sources on the command line and in the operator's own configuration are trusted and not checked.

Four things together keep a caller from reading what it should not: `check` before a source is
opened and, as `open_source(permit=...)`, before each new connection; `confined`, which makes FFmpeg
read only containers that name no other address, and follow no HTTP redirection; the protocols that
a source behind http may use at all (`vstream/sources/opening.py`); and a filter in the kernel that
lets the process that decodes connect to permitted addresses only, wherever a name or an RTSP server
leads it (`vstream/sources/connect_filter.py`).

What remains: a file in an allowed directory can be replaced between check and opening by anyone who
may write there. Without the filter, a name that changes its address after the check and
an RTSP server that redirects get a connection through; keep the service in a network that cannot
reach what callers must not.
"""

import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from vstream.errors import SourceError
from vstream.sources.address import SourceAddress, SourceKind, parse_address
from vstream.sources.config import SourceConfig
from vstream.sources.network_address import (
    AllowPrivate,
    ForbiddenAddressError,
    Resolver,
    permitted_addresses,
    resolve,
)

_PORTS = {"rtsp": 554, "rtsps": 322, "http": 80, "https": 443}
_HOST = re.compile(r"[A-Za-z0-9._-]+|[0-9A-Fa-f:.]+")  # where this parser and FFmpeg's agree
_AMBIGUOUS = re.compile(r"[\x00-\x20\x7f\\]")
_PLAYLISTS = {".m3u8", ".m3u", ".mpd", ".ism", ".ffconcat", ".sdp", ".asx", ".pls"}


@dataclass(frozen=True)
class SourcePolicy:
    """What callers may name. By default, what is public on the network, and no more."""

    allow_files: tuple[Path, ...] = ()
    """Directories whose video files may be read, including all below them."""
    allow_private: AllowPrivate = False
    allow_webcams: bool = False
    allow_playlists: bool = False
    """HLS and DASH. A playlist names further addresses, which FFmpeg opens unchecked."""
    resolver: Resolver = resolve

    def check(self, url: str) -> None:
        """Check what a caller names; waits for the resolver if there is a host name. Raises
        SourceError: SOURCE_FORBIDDEN, SOURCE_UNSUPPORTED like `parse_address`, FILE_NOT_FOUND
        inside allowed directories, STREAM_CONNECTION_FAILED for unknown hosts.
        """
        address = parse_address(url)
        if "\x00" in url or "\x00" in address.target:
            raise _forbidden(address, "an address cannot hold a NUL character")
        if address.kind is SourceKind.WEBCAM:
            self._check_webcam(address)
        elif urlsplit(address.target).scheme.lower() in _PORTS:
            self._check_host(address)
        else:
            self._check_file(address)

    def confined(self, config: SourceConfig) -> SourceConfig:
        """Return `config` for the sources that this policy checks."""
        return config.model_copy(
            update={"confined": not self.allow_playlists, "allow_private": self.allow_private}
        )

    def _check_webcam(self, address: SourceAddress) -> None:
        if not self.allow_webcams:
            raise _forbidden(address, "webcams are not open to callers; allow_webcams opens them")
        if not re.fullmatch(r"/dev/video\d+|\d+", address.target, re.ASCII):
            raise _forbidden(address, "this is no webcam; give webcam:0 or /dev/video0")

    def _check_host(self, address: SourceAddress) -> None:
        if _AMBIGUOUS.search(address.target):
            raise _forbidden(address, "write spaces and control characters as %20 and the like")
        parts = urlsplit(address.target)
        host = parts.hostname or ""
        try:
            port = parts.port or _PORTS[parts.scheme.lower()]
        except ValueError as error:
            raise _forbidden(address, f"{error}; give it as a number") from None
        if not _HOST.fullmatch(host):
            raise _forbidden(address, "name the host in plain letters, as rtsp://camera.example/1")
        if not self.allow_playlists and PurePosixPath(parts.path.lower()).suffix in _PLAYLISTS:
            raise _forbidden(
                address, "playlists are not open to callers; give the stream itself, or name it "
                "in the configuration"
            )  # fmt: skip
        try:
            permitted_addresses(host, port, self.allow_private, self.resolver)
        except ForbiddenAddressError as error:
            raise _forbidden(address, f"{error}; allow_private opens it") from None
        except OSError:
            raise SourceError(
                f"{address.name}: looking up the host: no address for {host}; check its name",
                "STREAM_CONNECTION_FAILED",
            ) from None

    def _check_file(self, address: SourceAddress) -> None:
        """Allow only absolute paths: FFmpeg may take others (`concat:/etc/x`) for a protocol."""
        path = Path(address.target)
        if not self.allow_files:
            raise _forbidden(address, "files are not open to callers; allow_files opens some")
        if not path.is_absolute():
            raise _forbidden(address, "name a file by its whole path, from / on")
        try:
            real = path.resolve()
        except (OSError, RuntimeError):  # symbolic links in a circle, names that are too long
            raise _forbidden(address, "this path leads nowhere") from None
        if not any(real.is_relative_to(folder.resolve()) for folder in self.allow_files):
            raise _forbidden(address, "the file lies outside the directories in allow_files")
        if not real.exists():
            raise SourceError(
                f"{address.name}: opening: no such file; check the path", "FILE_NOT_FOUND"
            )
        if not real.is_file():
            raise _forbidden(address, "this is no ordinary file; give a video file")


def _forbidden(address: SourceAddress, reason: str) -> SourceError:
    return SourceError(f"{address.name}: permission: {reason}", "SOURCE_FORBIDDEN")
