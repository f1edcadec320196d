"""Source errors: turn FFmpeg's error and the stage into a SourceError that says what to do.

The codes are stable:

    SOURCE_UNSUPPORTED          the address is of no kind that is read
    SOURCE_FORBIDDEN            a caller of the API may not name this (permission.py)
    SOURCE_TOO_LARGE            its pictures have more pixels than source.max_pixels
    FILE_NOT_FOUND              no such file
    FILE_NOT_READABLE           there is a file, but this user or machine cannot read it
    FILE_NOT_VIDEO              a directory, or no video inside
    FILE_EMPTY                  no bytes, or a video track without a single frame
    FILE_CORRUPT                reading broke off in the middle
    STREAM_AUTH_FAILED          user name or password refused
    STREAM_NOT_FOUND            the server is there, the path or device is not
    STREAM_TLS_CERTIFICATE      the server's certificate is not signed by one of tls_ca_file
        STREAM_TLS_HANDSHAKE        the server speaks no TLS, or none in common with us
    STREAM_TIMEOUT              nothing came in time
    STREAM_CODEC_UNSUPPORTED    the video is of a kind that cannot be decoded
    STREAM_NO_VIDEO             connected, but without a video track
    STREAM_DISCONNECTED         the other side ended the stream
    STREAM_CONNECTION_FAILED    anything else between here and the camera
    DECODER_FAILED              the process that decodes the video crashed or hung
    FRAME_INVALID               a pushed frame is no whole JPEG of acceptable size, or a picture in
                                a request is none
    FRAME_OUT_OF_ORDER          a pushed frame is older than the last, or from the future

FFmpeg's errors carry the full address with its password; none is chained to a SourceError.
"""

from av.error import (
    DecoderNotFoundError,
    ExitError,
    FFmpegError,
    FileNotFoundError,
    HTTPForbiddenError,
    HTTPNotFoundError,
    HTTPUnauthorizedError,
    PermissionError,
    TimeoutError,
)

from vstream.errors import SourceError

PERMANENT_CODES = frozenset(
    {
        "SOURCE_TOO_LARGE",
        "STREAM_AUTH_FAILED",
        "STREAM_NOT_FOUND",
        "STREAM_NO_VIDEO",
        "STREAM_CODEC_UNSUPPORTED",
        "STREAM_TLS_CERTIFICATE",
        "STREAM_TLS_HANDSHAKE",
    }
)
"""Failures of a first connection that trying again will hardly cure."""

_REFUSED_LOGIN = (HTTPUnauthorizedError, HTTPForbiddenError)
_NOT_THERE = (HTTPNotFoundError, FileNotFoundError)
_LED_AWAY = "it leads into a private or reserved network; allow_private opens it"


def stream_error(error: FFmpegError, name: str, stage: str) -> SourceError:
    """Return the SourceError for what FFmpeg reported of a live source while in `stage`."""
    if isinstance(error, (TimeoutError, ExitError)):
        return no_answer(name, stage)
    if isinstance(error, DecoderNotFoundError):
        return unsupported_codec(name)
    code = "STREAM_CONNECTION_FAILED"
    advice = (
        f"{error.strerror}; check that the camera is on, the host and port are right, and "
        "that it speaks this protocol"
    )
    if isinstance(error, PermissionError) and "://" in name:
        code, advice = "SOURCE_FORBIDDEN", _LED_AWAY
    elif isinstance(error, PermissionError):
        advice = "this user may not open the device; add it to the group 'video'"
    elif isinstance(error, _REFUSED_LOGIN):
        code = "STREAM_AUTH_FAILED"
        advice = "the user name or password was refused; check both in the address"
    elif isinstance(error, _NOT_THERE):
        code = "STREAM_NOT_FOUND"
        advice = "there is no such stream or device; check the path after the host name"
    return SourceError(f"{name}: {stage}: {advice}", code)


def file_error(error: FFmpegError, name: str) -> SourceError:
    """Return the SourceError for a file that FFmpeg could not open."""
    code, advice = "FILE_NOT_READABLE", f"{error.strerror}; check that the file can be read"
    if isinstance(error, _NOT_THERE):
        code, advice = "FILE_NOT_FOUND", "no such file; check the path"
    elif isinstance(error, PermissionError) and "://" in name:
        code, advice = "SOURCE_FORBIDDEN", _LED_AWAY
    elif isinstance(error, (PermissionError, *_REFUSED_LOGIN)):
        advice = "reading is not permitted; check who may read it"
    elif isinstance(error, ValueError):
        code = "FILE_NOT_VIDEO"
        advice = "this is not a video file; give an mp4, mkv, mov, webm or avi"
    return SourceError(f"{name}: opening: {advice}", code)


def no_answer(name: str, stage: str) -> SourceError:
    """Return the error of a live source that sent nothing in time."""
    return SourceError(
        f"{name}: {stage}: nothing came in time; check that the camera is on and reachable, or "
        "try the other transport (tcp, udp)",
        "STREAM_TIMEOUT",
    )


def disconnected(name: str) -> SourceError:
    """Return the error of a live source that came to an end."""
    return SourceError(
        f"{name}: reading: the other side ended the stream; check that the camera is on",
        "STREAM_DISCONNECTED",
    )


def unsupported_codec(name: str) -> SourceError:
    """Return the error of a video that this build of FFmpeg cannot decode."""
    return SourceError(
        f"{name}: decoding: the video's codec is not supported; set the camera to H.264 or H.265",
        "STREAM_CODEC_UNSUPPORTED",
    )


def too_large(name: str, max_pixels: int) -> SourceError:
    """Return the error of a source whose pictures are too large to decode."""
    return SourceError(
        f"{name}: decoding: its pictures have more than {max_pixels} pixels; send smaller ones, or "
        "raise source.max_pixels",
        "SOURCE_TOO_LARGE",
    )


def decoder_failed(name: str, how: str) -> SourceError:
    """Return the error of a source whose decoder crashed or hung."""
    return SourceError(
        f"{name}: decoding: the process that decodes it {how}; the video may be damaged, or "
        "made to do that",
        "DECODER_FAILED",
    )
