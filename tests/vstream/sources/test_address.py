"""parse_address: which way a source is opened, and that its secrets stay hidden."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vstream.errors import SourceError
from vstream.sources.address import SourceKind, parse_address, redacted


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("rtsp://host/stream", SourceKind.RTSP),
        ("RTSPS://host:322/stream", SourceKind.RTSP),
        ("http://host/live.m3u8", SourceKind.HTTP),
        ("https://host/mjpeg?fps=5", SourceKind.HTTP),
        ("https://host/clip.mp4?signature=1", SourceKind.FILE),
        ("/dev/video0", SourceKind.WEBCAM),
        ("webcam:0", SourceKind.WEBCAM),
        ("clip.mp4", SourceKind.FILE),
        ("C:\\videos\\clip.mp4", SourceKind.FILE),
        ("a file: with colons.mp4", SourceKind.FILE),
        ("file:///videos/my%20clip.mp4", SourceKind.FILE),
    ],
)
def test_an_address_is_opened_as_its_kind(url, kind):
    assert parse_address(url).kind is kind


def test_a_file_url_becomes_a_path():
    assert parse_address("file:///videos/my%20clip.mp4").target == "/videos/my clip.mp4"


@pytest.mark.parametrize("url", ["ftp://host/clip.mp4", "webcam:front", "gopher://x"])
def test_other_addresses_are_refused_with_what_is_accepted(url):
    with pytest.raises(SourceError, match="webcam:0") as caught:
        parse_address(url)
    assert caught.value.code == "SOURCE_UNSUPPORTED"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("rtsp://host/stream?channel=1&subtype=0", "rtsp://host/stream?channel=1&subtype=0"),
        ("rtsp://admin:hunter2@host:554/s", "rtsp://***@host:554/s"),
        ("rtsp:/admin:hunter2@host:554/s", "rtsp:/***@host:554/s"),
        ("admin:hunter2@host:554/s", "***@host:554/s"),
        ("/videos/at 10:30@home.mp4", "/videos/at 10:30@home.mp4"),
        ("rtsp://admin:hun/t@er?2#@host/s", "rtsp://***@host/s"),
        (
            "http://host/v?user=bob&password=hunter2&ch=1",
            "http://host/v?user=***&password=***&ch=1",
        ),
        ("rtsp://host/user=admin&password=hunter2&channel=1", None),
        ("http://host/videostream.cgi?loginuse=admin&loginpas=hunter2", None),
        ("http://host/live?psw=hunter2", None),
        ("http://host/live?password=hun/ter2hunter2", None),
        ("http://host/live?auth=aGVs/hunter2", None),
        ("https://host/live.m3u8?access_token=hunter2", None),
        ("https://host/live.m3u8?X-Amz-Signature=hunter2", None),
    ],
)
def test_secrets_are_hidden_wherever_cameras_put_them(url, shown):
    name = parse_address(url).name
    assert "hunter2" not in name
    assert shown is None or name == shown


@settings(max_examples=50)
@given(password=st.text(st.characters(codec="utf-8", exclude_characters="@"), min_size=6))
def test_no_password_survives_redaction(password):
    url = f"rtsp://bob:-{password}@camera/1"
    assert redacted(url) == "rtsp://***@camera/1"


def test_the_address_does_not_show_its_target():
    assert "hunter2" not in repr(parse_address("rtsp://admin:hunter2@host/s"))
