"""The page in a real browser whose camera plays a video of known content, over a real service."""

import os
import signal
from itertools import cycle, islice
from pathlib import Path

import httpx
import pytest
from fake_camera import CHROMIUM, browser, write_y4m
from page_visitor import ShownThings, visit
from processes import Process, until
from rtsp_camera import free_port

from app.client import ServiceClient
from app.sample import SAMPLE_VIDEO
from app.terminal import Terminal
from app.ui import show_page
from vstream.errors import SettingsError

SHOTS = Path(os.environ.get("VSTREAM_SCREENSHOTS", "runs/screenshots"))
FPS = 5
ARROW_S, BURGER_S = (15.0, 18.5), (6.0, 10.5)
"""Where the sample shows a blue arrow and nothing else, and where a hamburger."""
CALLED = {"arrow": "blue arrow", "burger": "burger"}
"""What the camera shows in turn, and what an answer calls it."""
ALIKE = 14
"""Pictures of the same frame are nearer than this, whatever JPEG and scaling made of it."""

pytestmark = [
    pytest.mark.skipif(not CHROMIUM.exists(), reason="no chromium: apt-get install chromium"),
    pytest.mark.filterwarnings("ignore"),
]


class Service:
    """A `vstream serve` process on a port of its own, to be killed and started again."""

    def __init__(self):
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._process = None

    def begin(self):
        self._process = Process("serve", "--no-page", "--port", self.port, "--threads", "1")

    def await_ready(self):
        until(self._is_ready, seconds=240)

    def kill(self):
        self._process.kill()

    def send(self, number):
        self._process.send(number)

    def _is_ready(self):
        assert self._process.is_running, "".join(self._process.err)
        try:
            return httpx.get(f"{self.url}/ready").status_code == 200
        except httpx.HTTPError:
            return False


@pytest.fixture(scope="module")
def things():
    return ShownThings(SAMPLE_VIDEO, FPS, arrow=ARROW_S, burger=BURGER_S)


@pytest.fixture(scope="module")
def camera(tmp_path_factory, things):
    """Some seconds of the arrow, then of the hamburger, in a loop."""
    path = tmp_path_factory.mktemp("camera") / "camera.y4m"
    shown = [
        picture
        for name, seconds in (("arrow", 25), ("burger", 12))
        for picture in islice(cycle(things.pictures[name]), seconds * FPS)
    ]
    write_y4m(path, shown, FPS)
    return path


@pytest.fixture(scope="module")
def started():
    """A service and a `vstream ui` over it, begun at once: most of their start is imports."""
    service, port = Service(), free_port()
    service.begin()
    page = Process("ui", "--service", service.url, "--port", port)
    try:
        page.await_line("the page of", seconds=120)
        service.await_ready()
        yield service, f"http://127.0.0.1:{port}/"
    finally:
        service.kill()
        code = page.terminate()
    assert code == 0, "".join(page.err)
    assert not any("Traceback" in line for line in page.err), "".join(page.err)


@pytest.fixture(scope="module")
def service(started):
    return started[0]


@pytest.fixture(scope="module")
def page_url(started):
    return started[1]


@pytest.fixture(scope="module")
def with_camera(camera):
    with browser(camera) as running:
        yield running


def test_a_camera_is_pointed_asked_about_and_waited_on(with_camera, things, service, page_url):
    SHOTS.mkdir(parents=True, exist_ok=True)
    with visit(with_camera, page_url) as visitor:
        page = visitor.page
        page.wait_for_selector("text=No cameras yet.", timeout=60_000)
        visitor.start_camera()
        page.wait_for_selector("#details >> text=in RAM", timeout=60_000)
        assert things.name_of(visitor.live_picture())[0] in CALLED
        page.evaluate("window.shownIn = document.querySelector('#live img')")
        until(lambda: ServiceClient(service.url).streams()[0].frames["encoded"] > 3)

        visitor.ask("what is there now?")
        visitor.await_chat("newest frame")
        found = [things.name_of(one) for one in visitor.moments("#chat")]
        shown = [name for name, apart in found if apart < ALIKE]
        assert len(shown) >= max(2, len(found) - 1), found  # a slow camera begins with a blank
        assert any(CALLED[name] in visitor.answers()[0] for name in shown), visitor.answers()
        page.locator("#chat button.moment").first.click()
        larger = page.locator("dialog[open]")
        assert "of the stream, taken at" in larger.inner_text()
        assert "score" in larger.inner_text()
        page.keyboard.press("Escape")
        assert page.locator("dialog[open]").count() == 0

        visitor.show("alerts")
        visitor.fill("condition", "there is a burger")
        page.locator("#add-alert").click()
        page.wait_for_selector("#alerts .alert", timeout=60_000)
        page.wait_for_selector("#alerts .alert.fired", timeout=120_000)
        page.wait_for_selector(".toast-body >> text=burger")  # it goes after eight seconds
        (fired, *_) = [things.name_of(one) for one in visitor.moments("#inbox")]
        assert fired[0] == "burger", fired
        assert fired[1] < ALIKE, fired
        page.wait_for_selector("#inbox .sentence >> text=burger", timeout=60_000)
        visitor.show("search")
        until(lambda: first_found(visitor, things, "a burger") == "burger")
        visitor.ask("have you seen a burger?")
        visitor.await_chat("yes")

        assert page.evaluate("window.shownIn === document.querySelector('#live img')")
        assert visitor.hosts == {page_url.split("/")[2]}, "the page needs a network"
        told = ServiceClient(service.url).streams()[0]
        taken = told.frames["received"], told.dropped["rate"], told.frames["sampled"]
        assert taken[0] > 2 * taken[2], "a camera sends several frames a second"
        assert taken[0] == taken[1] + taken[2] + told.dropped["stale"]


def first_found(visitor, things, words):
    """What the first picture shows that a search finds; the burger has only begun to be seen."""
    visitor.fill("words", words)
    visitor.page.keyboard.press("Enter")
    return things.name_of(visitor.moments("#found")[0])[0]


def test_two_visitors_see_neither_each_others_chat_nor_camera(with_camera, service, page_url):
    client = ServiceClient(service.url)
    until(lambda: client.streams() == [])  # the visitor before has left, and their camera
    with visit(with_camera, page_url) as one:
        one.start_camera()
        one.ask("what is there now?")
        one.await_chat("first token")
        with visit(with_camera, page_url) as other:
            other.page.wait_for_selector("text=No cameras yet.", timeout=60_000)
            assert other.page.locator("#chat .exchange").count() == 0
            assert other.stream == ""
            other.start_camera()
            until(lambda: len(client.streams()) == 2)
            assert one.stream == "my camera"
            assert other.page.locator("#chat .exchange").count() == 0
        until(lambda: len(client.streams()) == 1)
        one.await_state("running")


def test_escape_stops_what_is_being_answered_and_others_are_asked_meanwhile(
    with_camera, service, page_url
):
    with visit(with_camera, page_url) as visitor:
        visitor.start_camera()
        service.send(signal.SIGSTOP)  # a service that takes its time
        try:
            visitor.ask("what is there now?")
            visitor.await_chat("what is there now?")
            visitor.ask("have you seen a burger?")
            visitor.await_chat("have you seen a burger?")
            assert visitor.answers() == ["Thinking …"] * 2
            visitor.page.keyboard.press("Escape")
            visitor.page.wait_for_function(
                "() => document.querySelectorAll('#chat .note').length === 2", timeout=60_000
            )
            assert visitor.page.locator("#chat .note").all_inner_texts() == ["Stopped"] * 2
        finally:
            service.send(signal.SIGCONT)
        visitor.ask("what is there now?")
        visitor.ask("what do you see now?")
        visitor.page.wait_for_function(
            "() => document.querySelectorAll('#chat .moments').length === 2", timeout=60_000
        )
        visitor.page.wait_for_function("() => !document.querySelector('#chat .more')")


def test_a_page_that_anyone_could_open_is_refused():
    with pytest.raises(SettingsError, match="without a key"):
        show_page(Terminal(), "http://127.0.0.1:1", None, "0.0.0.0", free_port())
