"""SourcePolicy: what a caller of the API may name, and that FFmpeg goes no further than that."""

import os
import threading
from ipaddress import ip_network

import pytest
from loopback_http import loopback_http
from synthetic_video import number_in, write_video

from vstream.errors import SourceError
from vstream.sources import SourceConfig, open_source
from vstream.sources.network_address import resolve
from vstream.sources.permission import SourcePolicy

CONFIG = SourceConfig(connect_timeout_s=5, read_timeout_s=2, retry_min_s=0.05, retry_max_s=0.1)
NAMES = {
    "camera.example": ("203.0.114.7",),
    "lan.example": ("192.168.1.20",),
    "mixed.example": ("203.0.114.7", "127.0.0.1"),
    "v6.example": ("2606:4700::1111",),
    "mapped.example": ("::ffff:10.0.0.1",),
}


def resolver(host, port):
    """The real resolver for numbers, a table for names."""
    if host in NAMES:
        return NAMES[host]
    if not any(letter in host for letter in "ghijklmnopqrstuvwyz"):
        return resolve(host, port)
    raise OSError("no such name")


PUBLIC = SourcePolicy(resolver=resolver)


def code_of(policy, url):
    try:
        policy.check(url)
    except SourceError as error:
        return error.code
    return None


@pytest.mark.parametrize(
    "url",
    [
        "rtsp://camera.example/stream",
        "rtsp://bob:pass%40word@camera.example:8554/stream?channel=1",
        "RTSPS://camera.example/stream",
        "http://camera.example/mjpeg",
        "https://camera.example/clip.mp4?signature=a+b",
        "http://v6.example/live",
        "rtsp://[2606:4700::1111]/live",
        "rtsp://8.8.8.8/live",
    ],
)
def test_public_hosts_are_open(url):
    assert code_of(PUBLIC, url) is None


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/x.mp4",
        "http://127.1/x",
        "http://2130706433/",
        "http://0x7f.1/",
        "http://0177.0.0.1/",
        "http://0/",
        "http://[::1]/",
        "http://[::]/",
        "http://[::ffff:127.0.0.1]/",
        "http://[::ffff:a9fe:a9fe]/latest/meta-data/",
        "http://[64:ff9b::a9fe:a9fe]/",
        "http://[2002:7f00:1::]/",
        "http://[fd00::1]/",
        "http://[fe80::1%25lo]/",
        "http://169.254.169.254/latest/meta-data/",
        "https://169.254.169.254/x.mp4",
        "rtsp://169.254.169.254/",
        "rtsp://10.0.0.1:554/cam",
        "rtsp://172.31.255.255/",
        "rtsp://192.168.1.1/",
        "rtsp://100.64.0.1/",
        "rtsp://224.0.0.1/",
        "rtsp://255.255.255.255/",
        "rtsp://240.0.0.1/",
        "rtsp://lan.example/cam",
        "rtsp://mixed.example/cam",
        "rtsp://mapped.example/cam",
        "rtsp://camera.example@127.0.0.1/",
        "rtsp://camera.example:pass@word@10.0.0.1/",
        "http://127.0.0.1#@camera.example/",
        "http://127.0.0.1?@camera.example/",
        "http://127.0.0.1\\@camera.example/",
        "http://camera.example\\@127.0.0.1/",
        "http:127.0.0.1/x",
        "http:/127.0.0.1/x",
        "http:///127.0.0.1/x",
        "http://",
        "http://:80/",
        "rtsp://camera.example\t.evil/",
        "rtsp://camera.example/\r\nSETUP x",
        "http://camera.example:port/",
        "http://camera.example:99999/",
        "http://camera%2eexample/",
        "http://\uff11\uff12\uff17.0.0.1/",
        "http://camera.example\x00.evil/",
        "http://camera.example/live.m3u8",
        "https://camera.example/live.M3U8?token=1",
        "https://camera.example/manifest.mpd",
        "webcam:0",
        "/dev/video0",
        "/etc/passwd",
        "file:///etc/passwd",
        "FILE:///etc/passwd",
        "file:/etc/passwd",
        "file:etc/passwd",
        "file://localhost/etc/passwd",
        "clip.mp4",
        "../clip.mp4",
        "concat:/etc/passwd|/etc/group",
        "subfile,,start,0,end,0,,:/etc/passwd",
        "pipe:0",
        "fd:0",
        "data:video/mp4;base64,AAAA",
        "crypto:/etc/passwd",
        "async:/etc/passwd",
        "cache:/etc/passwd",
        "unix:/run/docker.sock",
    ],
)
def test_everything_else_is_forbidden(url):
    assert code_of(PUBLIC, url) == "SOURCE_FORBIDDEN"


@pytest.mark.parametrize(
    "url",
    [
        "",
        "  ",
        " http://camera.example/",
        "tcp://127.0.0.1:6379",
        "udp://127.0.0.1:1",
        "ftp://camera.example/x.mp4",
        "gopher://camera.example/",
        "concat:http://127.0.0.1/x",
        "subfile,,start,0,end,0,,:http://127.0.0.1/x",
        "async:http://127.0.0.1/x",
        "crypto+http://127.0.0.1/x",
        "ffrtmphttp://127.0.0.1/x",
        "\x01http://127.0.0.1/x",
        "http://[::1/",
    ],
)
def test_addresses_that_are_of_no_kind_stay_unsupported(url):
    assert code_of(PUBLIC, url) == "SOURCE_UNSUPPORTED"


def test_an_unknown_host_is_told_apart_from_a_forbidden_one():
    assert code_of(PUBLIC, "rtsp://typo.example/1") == "STREAM_CONNECTION_FAILED"


def test_networks_and_webcams_can_be_opened():
    lan = SourcePolicy(
        allow_private=(ip_network("192.168.0.0/16"),), allow_webcams=True, resolver=resolver
    )
    assert code_of(lan, "rtsp://lan.example/cam") is None
    assert code_of(lan, "rtsp://10.0.0.1/cam") == "SOURCE_FORBIDDEN"
    assert code_of(lan, "webcam:0") is None
    assert code_of(lan, "/dev/video12") is None
    assert code_of(lan, "/dev/video0/../sda") == "SOURCE_FORBIDDEN"
    anywhere = SourcePolicy(allow_private=True, allow_playlists=True, resolver=resolver)
    assert code_of(anywhere, "http://127.0.0.1/live.m3u8") is None


@pytest.fixture
def folders(tmp_path):
    """An open directory with a video, and a secret beside it that links lead to."""
    shared, secret = tmp_path / "shared", tmp_path / "shared-not"
    shared.mkdir()
    secret.mkdir()
    write_video(shared / "my clip%2e.mp4", num_frames=2)
    write_video(secret / "clip.mp4", num_frames=2)
    (shared / "below").mkdir()
    (shared / "below" / "inside.mp4").symlink_to(shared / "my clip%2e.mp4")
    (shared / "outside.mp4").symlink_to(secret / "clip.mp4")
    (shared / "folder").symlink_to(secret)
    (shared / "circle").symlink_to(shared / "circle")
    os.mkfifo(shared / "fifo.mp4")
    return shared


@pytest.mark.parametrize(
    ("form", "code"),
    [
        ("{0}/my clip%2e.mp4", None),
        ("file://{0}/my%20clip%252e.mp4", None),
        ("file:{0}/my%20clip%252e.mp4", None),
        ("{0}/below/../below/inside.mp4", None),
        ("{0}/none.mp4", "FILE_NOT_FOUND"),
        ("{0}", "SOURCE_FORBIDDEN"),
        ("{0}/fifo.mp4", "SOURCE_FORBIDDEN"),
        ("{0}/outside.mp4", "SOURCE_FORBIDDEN"),
        ("{0}/folder/clip.mp4", "SOURCE_FORBIDDEN"),
        ("{0}/circle", "SOURCE_FORBIDDEN"),
        ("{0}/../shared-not/clip.mp4", "SOURCE_FORBIDDEN"),
        ("{0}-not/clip.mp4", "SOURCE_FORBIDDEN"),
        ("{0}/../nowhere.mp4", "SOURCE_FORBIDDEN"),
        ("file://{0}/%2e%2e/shared-not/clip.mp4", "SOURCE_FORBIDDEN"),
        ("file://{0}/..%2fshared-not/clip.mp4", "SOURCE_FORBIDDEN"),
        ("file://{0}/my%20clip%252e.mp4%00.txt", "SOURCE_FORBIDDEN"),
        ("file:concat:{0}/below/inside.mp4", "SOURCE_FORBIDDEN"),
        ("concat:{0}/below/inside.mp4", "SOURCE_FORBIDDEN"),
        ("subfile,,start,0,end,0,,:{0}/below/inside.mp4", "SOURCE_FORBIDDEN"),
        ("below/inside.mp4", "SOURCE_FORBIDDEN"),
    ],
)
def test_files_are_open_inside_the_allowed_directories(folders, form, code, monkeypatch):
    monkeypatch.chdir(folders)  # a relative path inside would be another door for `concat:`
    url = form.format(folders)
    policy = SourcePolicy(allow_files=(folders,))
    assert code_of(policy, url) == code
    if code is None:
        with open_source(url, policy.confined(CONFIG), permit=policy.check) as source:
            assert [number_in(frame.pixels) for frame in source] == [0, 1]


def test_a_password_is_not_told_in_the_refusal():
    with pytest.raises(SourceError) as caught:
        PUBLIC.check("rtsp://bob:hunter2@10.0.0.1/")
    assert "hunter2" not in str(caught.value)
    assert "allow_private" in str(caught.value)


def playlist(segment):
    return (
        "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:9\n#EXT-X-MEDIA-SEQUENCE:0\n"
        f"#EXTINF:2.0,\n{segment}\n#EXT-X-ENDLIST\n"
    ).encode()


def is_seen(url, config):
    with open_source(url, config) as source:
        return number_in(next(iter(source)).pixels) < 20


def test_a_playlist_behind_http_reaches_others_behind_http_but_no_file(tmp_path):
    secret = write_video(tmp_path / "secret.ts", num_frames=20, codec="mpeg4")
    pages = {
        "/good.m3u8": playlist("segment.ts"),
        "/url.m3u8": playlist(secret.as_uri()),
        "/bare.m3u8": playlist(f"file:{secret}"),
        "/concat.m3u8": playlist(f"concat:{secret}|{secret}"),
        "/subfile.m3u8": playlist(f"subfile,,start,0,end,0,,:{secret}"),
        "/segment.ts": secret.read_bytes(),
    }

    def answer(request):
        if request.path in pages:
            return 200, {}, pages[request.path]
        return 404, {}, b""

    with loopback_http(answer) as web:
        assert is_seen(f"{web.url}/good.m3u8", CONFIG)
        for page in pages:
            if page not in ("/good.m3u8", "/segment.ts"):
                with pytest.raises(SourceError):
                    is_seen(web.url + page, CONFIG.model_copy(update={"connect_timeout_s": 0.5}))


def test_what_is_confined_reads_no_playlist_and_follows_no_redirection(tmp_path):
    video = write_video(tmp_path / "clip.ts", num_frames=20, codec="mpeg4").read_bytes()

    def answer(request):
        if request.path == "/away.ts.mp4":
            return 302, {"Location": "/clip.ts"}, b""
        if request.path == "/list":
            return 200, {"Content-Type": "application/vnd.apple.mpegurl"}, playlist("clip.ts")
        return 200, {}, video

    confined = CONFIG.model_copy(update={"confined": True, "connect_timeout_s": 0.5})
    with loopback_http(answer) as web:
        assert is_seen(f"{web.url}/live", confined)
        for path in ("/away.ts.mp4", "/list"):
            assert is_seen(web.url + path, CONFIG)
            web.requests.clear()
            with pytest.raises(SourceError):
                is_seen(web.url + path, confined)
            assert {request.path for request in web.requests} == {path}


def test_a_confined_file_is_no_playlist_of_other_files(tmp_path):
    secret = write_video(tmp_path / "secret.ts", num_frames=20, codec="mpeg4")
    (tmp_path / "list.m3u8").write_bytes(playlist(str(secret)))
    (tmp_path / "list.mp4").write_bytes(b"ffconcat version 1.0\nfile secret.ts\n")
    for name in ("list.m3u8", "list.mp4"):
        url = str(tmp_path / name)
        assert is_seen(url, CONFIG)
        with pytest.raises(SourceError, match="not a video file"):
            is_seen(url, CONFIG.model_copy(update={"confined": True}))


def test_permission_is_asked_before_each_connection_and_can_be_withdrawn(tmp_path):
    video = write_video(tmp_path / "clip.ts", num_frames=10, codec="mpeg4").read_bytes()
    asked, refused = [], threading.Event()

    def permit(url):
        asked.append(url)
        if len(asked) > 5:
            refused.set()
        if len(asked) > 3:  # at opening, and twice before connecting
            raise SourceError("it moved into a private network", "SOURCE_FORBIDDEN")

    with loopback_http(lambda request: (200, {}, video)) as web:
        url = f"{web.url}/live"
        with open_source(url, CONFIG, permit=permit) as source:
            assert next(iter(source)) is not None
            assert refused.wait(20)
            assert source.status.last_error.code == "SOURCE_FORBIDDEN"
        assert set(asked) == {url}
        assert len(web.requests) == 2


def test_what_is_refused_at_opening_is_never_connected_to():
    with loopback_http(lambda request: (200, {}, b"")) as web:
        with pytest.raises(SourceError) as caught:
            open_source(f"{web.url}/clip.mp4", CONFIG, permit=SourcePolicy().check)
        assert caught.value.code == "SOURCE_FORBIDDEN"
        assert not web.requests
