"""stream_error and file_error: a stable code, and a message that says what to do."""

import av.error
import pytest

from vstream.sources.errors import file_error, stream_error

SECRET_URL = "rtsp://admin:hunter2@host/s"


def ffmpeg_error(kind):
    return kind(1, "what FFmpeg says", SECRET_URL)


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (av.error.HTTPUnauthorizedError, "STREAM_AUTH_FAILED"),
        (av.error.HTTPForbiddenError, "STREAM_AUTH_FAILED"),
        (av.error.HTTPNotFoundError, "STREAM_NOT_FOUND"),
        (av.error.FileNotFoundError, "STREAM_NOT_FOUND"),
        (av.error.TimeoutError, "STREAM_TIMEOUT"),
        (av.error.ExitError, "STREAM_TIMEOUT"),
        (av.error.PermissionError, "SOURCE_FORBIDDEN"),
        (av.error.ConnectionRefusedError, "STREAM_CONNECTION_FAILED"),
        (av.error.HTTPServerError, "STREAM_CONNECTION_FAILED"),
        (av.error.InvalidDataError, "STREAM_CONNECTION_FAILED"),
    ],
)
def test_a_stream_failure_has_a_code_and_names_the_source_and_the_stage(kind, code):
    error = stream_error(ffmpeg_error(kind), "rtsp://***@host/s", "connecting")
    assert error.code == code
    assert str(error).startswith("rtsp://***@host/s: connecting: ")
    assert "hunter2" not in str(error)


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (av.error.FileNotFoundError, "FILE_NOT_FOUND"),
        (av.error.HTTPNotFoundError, "FILE_NOT_FOUND"),
        (av.error.PermissionError, "FILE_NOT_READABLE"),
        (av.error.HTTPUnauthorizedError, "FILE_NOT_READABLE"),
        (av.error.ConnectionRefusedError, "FILE_NOT_READABLE"),
        (av.error.InvalidDataError, "FILE_NOT_VIDEO"),
    ],
)
def test_a_file_failure_has_a_code_and_names_the_file(kind, code):
    error = file_error(ffmpeg_error(kind), "clip.mp4")
    assert error.code == code
    assert str(error).startswith("clip.mp4: opening: ")
    assert "hunter2" not in str(error)


def test_a_codec_without_a_decoder_is_named_as_the_reason():
    error = stream_error(ffmpeg_error(av.error.DecoderNotFoundError), "camera", "connecting")
    assert error.code == "STREAM_CODEC_UNSUPPORTED"
    assert "H.264" in str(error)
