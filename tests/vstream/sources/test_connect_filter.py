"""What decodes for a caller connects to no address that the caller may not name."""

import select
import socket
from ipaddress import ip_network

import pytest
from loopback_http import loopback_http
from rtsp_camera import RtspCamera, ScriptedRtspServer
from synthetic_video import write_video

from encoders import FrameSampler
from vstream.errors import SourceError
from vstream.sources import SourceConfig
from vstream.sources.permission import SourcePolicy
from vstream.sources.source_process import open_apart, probe_apart

CONFIG = SourceConfig(connect_timeout_s=1, read_timeout_s=1, retry_min_s=0.05, retry_max_s=0.1)
POLICY = SourcePolicy(allow_private=(ip_network("127.0.0.1/32"),))
EVERYTHING = SourcePolicy(allow_private=True)
ELSEWHERE = "127.0.0.2"


class Redirecting(ScriptedRtspServer):
    """Answers honestly once, and then sends who asks for the stream elsewhere."""

    def __init__(self, location):
        super().__init__("nothing_to_play")
        self.location = location
        self.url = f"rtsp://127.0.0.1:{self.port}/door"

    def answer(self, request):
        told = super().answer(request)
        if request.startswith("DESCRIBE"):
            return told.replace("200 OK", f"302 Found\r\nLocation: {self.location}")
        return told


class Misdirecting(ScriptedRtspServer):
    """Has its pictures asked for by UDP from another host."""

    def __init__(self, port):
        super().__init__("nothing_to_play")
        self.source = f"Transport: RTP/AVP/UDP;unicast;source={ELSEWHERE};server_port={port}-{port}"
        self.url = f"rtsp://127.0.0.1:{self.port}/door"

    def answer(self, request):
        told = super().answer(request)
        if request.startswith("SETUP"):
            ports = request.partition("client_port=")[2].split("\r")[0]
            return told.replace(
                "Transport: RTP/AVP/TCP;unicast;interleaved=0-1",
                f"{self.source};client_port={ports}",
            )
        return told


def watch(url, config):
    with open_apart(url, config, wants=FrameSampler(20).wants) as source:
        list(source)


def probe(url, config):
    probe_apart(url, config, lambda url: None)


def failure(url, policy=POLICY, config=CONFIG, look=watch):
    """Open it as a service does for a caller who names it, after the check."""
    with pytest.raises(SourceError) as caught:
        look(url, policy.confined(config))
    return caught.value.code


def has_come(server):
    return bool(select.select([server], [], [], 0)[0])


@pytest.mark.parametrize("look", [watch, probe])
def test_a_redirection_of_a_permitted_server_reaches_nothing_that_is_not(look):
    with (
        socket.create_server((ELSEWHERE, 0)) as other,
        Redirecting(f"rtsp://{ELSEWHERE}:{other.getsockname()[1]}/") as camera,
    ):
        assert failure(camera.url, look=look) == "SOURCE_FORBIDDEN"
        assert not has_come(other)
        failure(camera.url, EVERYTHING, look=look)
        assert has_come(other)


def test_nothing_is_sent_to_where_a_server_says_that_its_pictures_come_from():
    config = CONFIG.model_copy(update={"transport": "udp"})
    with socket.socket(type=socket.SOCK_DGRAM) as other:
        other.bind((ELSEWHERE, 0))
        with Misdirecting(other.getsockname()[1]) as camera:
            failure(camera.url, config=config)
            assert not has_come(other)
            failure(camera.url, EVERYTHING, config)
            assert has_come(other)


@pytest.mark.parametrize("path", ["live", "clip.mp4"])
def test_a_name_that_changes_its_address_after_the_check_leads_nowhere(path):
    nowhere = SourcePolicy(allow_private=())
    with loopback_http(lambda request: (200, {}, b"")) as web:
        assert failure(f"{web.url}/{path}", nowhere) == "SOURCE_FORBIDDEN"
        assert not web.requests
        failure(f"{web.url}/{path}")
        assert web.requests


def test_a_permitted_camera_is_watched_by_its_name_and_after_a_redirection(tmp_path):
    with RtspCamera(write_video(tmp_path / "clip.mp4", num_frames=20)) as camera:
        named = camera.url.replace("127.0.0.1", "localhost")
        policy = SourcePolicy(allow_private=(ip_network("127.0.0.1/32"), ip_network("::1/128")))
        with Redirecting(camera.url) as other:
            for url in (named, camera.url, other.url):
                config = policy.confined(CONFIG.model_copy(update={"connect_timeout_s": 10}))
                with open_apart(url, config, wants=FrameSampler(20).wants) as source:
                    assert next(iter(source)) is not None
