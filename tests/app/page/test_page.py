"""The page in a real browser whose camera plays a video of known content."""

import os
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from fake_camera import CHROMIUM, browser, write_y4m
from processes import Process, until
from rtsp_camera import free_port

from app.client import ServiceClient
from app.page.layout import build_page
from app.ui import looks
from vstream.sources import SourceConfig, VideoFile

SAMPLE = Path(__file__).parents[3] / "app" / "assets" / "sample_stream.mp4"
SHOTS = Path(os.environ.get("VSTREAM_SCREENSHOTS", "runs/screenshots"))
FPS = 5
ARROW_S, BURGER_S = (15.0, 18.5), (6.0, 10.5)
"""Where the sample shows a blue arrow and nothing else, and where a hamburger."""

pytestmark = [
    pytest.mark.skipif(not CHROMIUM.exists(), reason="no chromium: apt-get install chromium"),
    pytest.mark.filterwarnings("ignore"),
]


@pytest.fixture(scope="module")
def camera(tmp_path_factory):
    """Half a minute of the arrow, a quarter of the hamburger, in a loop."""
    path = tmp_path_factory.mktemp("camera") / "camera.y4m"
    write_y4m(path, [*_pictures(*ARROW_S, 30), *_pictures(*BURGER_S, 15)], FPS)
    return path


def _pictures(begin_s, end_s, seconds):
    config = SourceConfig(max_side=384)
    with VideoFile(str(SAMPLE), config) as video:
        times = [begin_s + (n / FPS) % (end_s - begin_s) for n in range(seconds * FPS)]
        return [frame.pixels for frame in video.frames_at(times)]


class Service:
    """A `vstream serve` process on a port of its own, to be killed and started again."""

    def __init__(self):
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._process = None

    def start(self):
        self._process = Process("serve", "--no-page", "--port", self.port, "--threads", "1")
        until(self._is_ready)

    def kill(self):
        self._process.kill()

    def _is_ready(self):
        assert self._process.is_running, "".join(self._process.err)
        try:
            return httpx.get(f"{self.url}/ready").status_code == 200
        except httpx.HTTPError:
            return False


@pytest.fixture(scope="module")
def service():
    running = Service()
    running.start()
    yield running
    running.kill()


@pytest.fixture(scope="module")
def page_url(service):
    client, port = ServiceClient(service.url), free_port()
    blocks = build_page(client)
    options = {"prevent_thread_lock": True, "quiet": True, "ssr_mode": False, "footer_links": []}
    blocks.launch(server_name="127.0.0.1", server_port=port, **options, **looks())
    yield f"http://127.0.0.1:{port}/"
    blocks.close()
    client.close()


@contextmanager
def visit(chromium, url, width=1280, height=1000):
    context = chromium.new_context(viewport={"width": width, "height": height})
    context.grant_permissions(["camera"])
    page = context.new_page()
    page.goto(url, wait_until="load")
    page.wait_for_selector("#question textarea, #question input", timeout=30_000)
    yield page
    context.close()


def start_camera(page):
    page.get_by_text("Click to Access Webcam").click()
    page.locator("#camera").get_by_role("button").filter(has_text="Record").click(timeout=15_000)
    page.wait_for_timeout(1500)
    page.locator("#use-camera").click()
    page.wait_for_selector("#status [data-state='running']", timeout=30_000)


def ask(page, text):
    field = page.locator("#question textarea, #question input").first
    field.fill(text)
    field.press("Enter")


def test_a_camera_is_pointed_asked_about_and_watched(camera, service, page_url):
    SHOTS.mkdir(parents=True, exist_ok=True)
    with browser(camera) as chromium, visit(chromium, page_url) as page:
        start_camera(page)
        page.wait_for_timeout(4000)
        ask(page, "what is there now?")
        page.wait_for_selector("#chat >> text=blue arrow", timeout=20_000)
        page.wait_for_selector("#evidence img", timeout=20_000)
        page.locator("#condition textarea, #condition input").first.fill(
            "tell me when there is a burger"
        )
        page.locator("#add-watch").click()
        page.wait_for_function(
            "() => /burger\\s*1/.test(document.querySelector('#watches').innerText)",
            timeout=90_000,
        )
        page.screenshot(path=SHOTS / "page-desktop.png", full_page=True)
        page.set_viewport_size({"width": 390, "height": 844})
        page.wait_for_timeout(1500)
        page.screenshot(path=SHOTS / "page-phone.png", full_page=True)


def test_two_visitors_see_neither_each_others_chat_nor_camera(camera, page_url):
    with browser(camera) as chromium, visit(chromium, page_url) as one:
        start_camera(one)
        ask(one, "what is there now?")
        one.wait_for_selector("#chat >> text=first token", timeout=20_000)
        with visit(chromium, page_url) as other:
            other.wait_for_timeout(2000)
            assert "first token" not in other.locator("#chat").inner_text()
            field = other.locator("#stream input").first
            assert field.input_value() == ""
            field.click()
            assert "camera" not in other.locator("#stream").inner_text().lower()


def test_the_page_says_that_the_service_is_gone_and_goes_on_when_it_is_back(
    camera, service, page_url
):
    with browser(camera) as chromium, visit(chromium, page_url) as page:
        start_camera(page)
        service.kill()
        page.wait_for_selector("#status >> text=cannot be reached", timeout=20_000)
        ask(page, "what is there now?")
        page.wait_for_selector("#chat >> text=cannot be reached", timeout=20_000)
        service.start()
        page.wait_for_selector("#status [data-state='running']", timeout=60_000)
        ask(page, "what is there now?")
        page.wait_for_selector("#chat >> text=first token", timeout=30_000)


def test_the_service_shows_the_page_and_asks_for_its_key_there_too(monkeypatch):
    key = "a-key-that-is-long-enough"
    monkeypatch.setenv("VSTREAM_API_KEY", key)
    process = Process("serve", "--port", "0", "--threads", "1")
    try:
        process.await_line("page at")
        url = next(line for line in process.err if "page at" in line).split()[2]
        with httpx.Client(follow_redirects=True, timeout=30) as http:
            until(lambda: http.get(url.replace("/ui", "/ready")).status_code == 200)
            assert "password is the service" in http.get(url).text
            assert http.get(f"{url}/config").status_code == 401
            refused = http.post(f"{url}/login", data={"username": "me", "password": "wrong"})
            assert refused.status_code == 400
            entered = http.post(f"{url}/login", data={"username": "me", "password": key})
            assert entered.status_code == 200
            assert http.get(f"{url}/config").json()["title"] == "vstream"
    finally:
        assert process.terminate() == 0
