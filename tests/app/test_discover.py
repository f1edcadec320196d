"""`vstream discover` and cameras on loopback, of which some lie."""

import asyncio
import gzip
import json
import socket
from types import SimpleNamespace

import httpx
import psutil
import pytest
from command_line import vstream
from loopback_http import loopback_http
from onvif_camera import PASSWORD, USER, OnvifCamera
from own_network import own_network

from app.onvif_streams import _OneHost, at_host, is_shallow
from app.server.settings import load_settings
from vstream.sources.address import SourceKind, parse_address

PROFILE = '<Profiles token="ha"/>'
BOMB = '<!DOCTYPE b [<!ENTITY a "ha">]><r><Profiles token="&a;"/></r>'


@pytest.fixture
def camera(monkeypatch):
    monkeypatch.setenv("VSTREAM_ONVIF_PASSWORD", PASSWORD)
    with OnvifCamera() as camera:
        yield camera


@pytest.fixture
def elsewhere():
    """A server that no camera may send vstream to."""
    with loopback_http(lambda request: (200, {}, b"")) as server:
        yield server


def discovered(camera, *options):
    """The one camera, as JSON has it."""
    run = vstream("discover", camera.host, "--wait", 30, "--json", *options)
    assert run.code == 0, run.err
    assert PASSWORD not in run.out + run.err
    (found,) = json.loads(run.out)
    return found


@pytest.fixture
def network(monkeypatch):
    """This machine is alone in its network; gives what changes its address there."""

    def is_at(address, netmask):
        lo = SimpleNamespace(family=socket.AF_INET, address=address, netmask=netmask)
        monkeypatch.setattr(psutil, "net_if_addrs", lambda: {"lo": [lo]})

    is_at("127.0.0.1", "255.0.0.0")
    with own_network():
        yield is_at


def test_a_camera_of_the_network_is_found(network):
    with OnvifCamera("Yard", group=True) as yard, OnvifCamera(group=True) as door:
        run = vstream("discover", "--wait", 2)
    assert run.code == 0
    assert run.out.splitlines() == [f"Front door  M1  {door.url}", f"Yard  M1  {yard.url}"]
    assert "--user" in run.err
    assert not door.requests
    assert len(door.probes) == 3


def test_an_answer_from_beyond_the_network_counts_for_nothing(network):
    network("127.0.0.2", "255.255.255.255")
    with OnvifCamera(group=True) as door:
        run = vstream("discover", "--wait", 2)
    assert len(door.probes) == 3
    assert not run.out
    assert "no camera answered" in run.err


def test_its_streams_are_listed_at_the_address_that_answered(camera):
    found = discovered(camera, "--user", USER)
    assert found == {
        "name": "Front door",
        "hardware": "M1",
        "host": "127.0.0.1",
        "address": camera.url,
        "streams": [
            {
                "url": "rtsp://127.0.0.1:554/live?channel=1&token=a",
                "profile": "main",
                "width": 1920,
                "height": 360,
                "encoding": "H264",
            },
            {
                "url": "rtsp://127.0.0.1:554/live?channel=1&token=b",
                "profile": "sub",
                "width": 640,
                "height": 360,
                "encoding": "H265",
            },
        ],
        "error": None,
    }
    assert all(PASSWORD not in body for _, body in camera.requests)
    for stream in found["streams"]:
        assert parse_address(stream["url"]).kind is SourceKind.RTSP
        declared = [{"id": "door", "source": {"url": stream["url"]}}]
        assert load_settings(None, streams=declared).streams[0].source.url == stream["url"]


def test_people_see_lines_that_a_shell_reads_as_one_word(camera):
    camera.answers["GetStreamUri"] = "<Uri>rtsp://a/$(reboot)?x=1&amp;y='2'</Uri>"
    run = vstream("discover", camera.host, "--user", USER)
    assert run.out.splitlines()[:2] == [
        f"Front door  M1  {camera.url}",
        """  'rtsp://127.0.0.1/$(reboot)?x=1&y='"'"'2'"'"''  main, 1920x360, H264""",
    ]


def test_a_wrong_password_is_said(camera, monkeypatch):
    monkeypatch.setenv("VSTREAM_ONVIF_PASSWORD", "wrong-and-secret")
    run = vstream("discover", camera.host, "--user", USER)
    assert "refused the user or the password" in run.err
    assert "wrong-and-secret" not in run.out + run.err
    assert all("wrong-and-secret" not in body for _, body in camera.requests)


def test_a_camera_that_wants_the_password_itself_does_not_get_it(camera):
    basic = {"WWW-Authenticate": 'Basic realm="camera"'}
    with loopback_http(lambda request: (401, basic, b"")) as server:
        camera.xaddrs = server.url
        assert "refused" in discovered(camera, "--user", USER)["error"]
        assert server.requests
        assert not any("authorization" in request.headers for request in server.requests)


def test_no_other_host_is_asked_whatever_the_camera_names(camera, elsewhere):
    """Neither by its answer to the probe, nor as the place of its media, nor by redirection."""
    other = elsewhere.url.replace("127.0.0.1", "localhost")
    port = camera.url.split(":")[2].split("/")[0]
    camera.xaddrs = f"http://192.0.2.1:{port}/onvif/device_service"
    camera.answers["GetServices"] = camera.answers["GetServices"].replace(
        camera.url.removesuffix("/onvif/device_service"), other
    )
    found = discovered(camera, "--user", USER)
    assert found["address"] == camera.url
    assert len(found["streams"]) == 2
    camera.headers["Location"] = other
    with loopback_http(lambda request: (307, camera.headers, b"")) as redirecting:
        camera.xaddrs = redirecting.url
        assert "redirected" in discovered(camera, "--user", USER)["error"]
    assert not elsewhere.requests


@pytest.mark.parametrize(
    "said",
    [BOMB, f"{'<a>' * 40}{PROFILE}{'</a>' * 40}", f"{PROFILE}{' ' * (1 << 20)}", f"{PROFILE}<a"],
    ids=["entities", "depth", "length", "no XML"],
)
def test_a_hostile_answer_is_not_read(camera, said):
    camera.answers["GetProfiles"] = PROFILE
    assert len(discovered(camera, "--user", USER)["streams"]) == 1
    camera.answers["GetProfiles"] = said
    found = discovered(camera, "--user", USER)
    assert found["error"]
    assert not found["streams"]


def test_a_packed_answer_is_not_unpacked(camera):
    camera.packs = gzip.compress
    camera.headers["Content-Encoding"] = "gzip"
    assert discovered(camera, "--user", USER)["error"]


def test_a_stream_of_another_kind_is_left_out(camera):
    camera.answers["GetStreamUri"] = "<Uri>file:///etc/passwd</Uri>"
    assert discovered(camera, "--user", USER)["error"] == "it names no streams"


def test_requests_reach_the_host_that_is_asked_alone(elsewhere):
    async def post():
        async with httpx.AsyncClient(transport=_OneHost("127.0.0.1")) as client:
            await client.post(elsewhere.url.replace("127.0.0.1", "camera.invalid"))

    asyncio.run(post())
    assert len(elsewhere.requests) == 1


def test_a_name_cannot_draw_on_the_terminal(camera):
    camera._name = "a%1B%5B2Jb%E2%80%AEc" + "d" * 500
    found = discovered(camera)
    assert found["name"].startswith("a[2Jbcddd")
    assert len(found["name"]) == 80


def test_hostile_answers_to_a_probe_are_left_out(network):
    bad, deep, worse, good = (OnvifCamera(group=True) for _ in range(4))
    with bad, deep, worse, good:
        bad.match = BOMB
        deep.xaddrs = (
            f"{deep.url}</d:XAddrs></d:ProbeMatch>{'<a>' * 40}{'</a>' * 40}<d:ProbeMatch><d:XAddrs>"
        )
        worse.xaddrs = "file:///etc/passwd http://[::1 http://a:99999999/ javascript:1"
        run = vstream("discover", "--wait", 2)
    assert all(one.probes for one in (bad, deep, worse))
    assert run.out.splitlines() == [f"Front door  M1  {good.url}"]


@pytest.mark.parametrize("host", ["no host", "127.0.0.1:port", "[::1", "", "::1"])
def test_what_is_no_host_is_refused(host):
    run = vstream("discover", host, "--wait", 0.1)
    assert run.code == 1
    assert "IPv4" in run.err


@pytest.mark.parametrize(
    ("url", "at"),
    [
        ("rtsp://u:p@10.0.0.1:554/a?b=1#c", "rtsp://192.0.2.9:554/a?b=1"),
        ("rtsp://10.0.0.1/a?user=x&password=y", "rtsp://192.0.2.9/a?user=x&password=***"),
        ("rtsps:///a", "rtsps://192.0.2.9/a"),
        ("http://10.0.0.1/a", None),
        ("rtsp://10.0.0.1/a\x1b[2J", None),
        ("rtsp://10.0.0.1/a b", None),
        ("rtsp://10.0.0.1:x/", None),
        ("rtsp://[/", None),
        ("rtsp://a/" + "a" * 2000, None),
        ("", None),
    ],
)
def test_an_address_is_moved_to_the_host_that_named_it(url, at):
    assert at_host(url, "192.0.2.9", ("rtsp", "rtsps")) == at


def test_xml_is_shallow_or_not():
    assert is_shallow("<a>" * 32 + "</a>" * 32)
    assert not is_shallow("<a>" * 33)
    assert is_shallow("<a><b/><b/></a>" * 2)
    assert not is_shallow('<!DOCTYPE a [<!ENTITY b "c">]><a/>')
