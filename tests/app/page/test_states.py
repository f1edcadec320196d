"""A service that is starting, slow, dead and back: the page says one thing, and it is so."""

import io
import threading

import pytest
from fake_camera import CHROMIUM
from owl_stream import owl_frames
from page_visitor import PageVisitor, shown_page
from PIL import Image
from processes import Process, until
from rtsp_camera import free_port
from service import embedded, running_service

from app.client import ServiceClient, ServiceError

pytestmark = [
    pytest.mark.skipif(not CHROMIUM.exists(), reason="no chromium: apt-get install chromium"),
    pytest.mark.filterwarnings("ignore"),
]


@pytest.fixture
def visitor(chromium):
    context = chromium.new_context(viewport={"width": 1280, "height": 1000})
    yield PageVisitor(context.new_page())
    context.close()


def _push(client, stream_id="door"):
    buffer = io.BytesIO()
    Image.fromarray(owl_frames()[10].pixels).save(buffer, "JPEG")
    return client.push(stream_id, buffer.getvalue())


def _said(page):
    """All that the page says of a state: the pill, and the banners that are there."""
    banners = page.locator("#shell .banner:not(.model):visible").all_inner_texts()
    return [page.locator("#state").inner_text(), *banners]


def test_a_page_that_is_open_before_its_model_says_so_and_a_question_waits_for_it(visitor):
    loaded = threading.Event()

    def load():
        loaded.wait(120)
        return embedded()

    streams = [{"id": "door", "source": {"type": "push"}}]
    with running_service(load=load, page=True, streams=streams) as service:
        page = visitor.page
        visitor.open(f"{service.url}/ui#tab=live&stream=door")
        visitor.await_state("loading")
        (pill, banner) = _said(page)
        assert pill == "loading"
        assert banner.startswith("Loading model embedded, ")
        assert page.get_by_role("progressbar", name="Loading the model").is_visible()
        visitor.ask("what is there now?")
        visitor.await_chat("Loading the model …")
        loaded.set()
        visitor.await_chat("Waiting for the first frame …")
        with ServiceClient(service.url) as client:
            until(lambda: _push(client))
        visitor.await_chat("newest frame")
        assert _said(page)[0] not in ("loading", "disconnected")
        assert page.locator(".banner.loading").is_hidden()


@pytest.mark.timeout(400)  # a busy machine imports all of it slowly, twice
def test_a_service_that_is_dead_or_slow_is_told_as_one_state_and_ages_go_on(visitor):
    port = free_port()
    arguments = ("serve", "--no-page", "--port", port, "--threads", "1")
    with ServiceClient(f"http://127.0.0.1:{port}") as client, shown_page(client) as (_, url):
        page = visitor.page
        visitor.open(url)
        visitor.await_state("lost")
        assert _said(page)[0] == "disconnected"
        assert "cannot be reached. Trying again" in _said(page)[1]
        process = Process(*arguments)
        try:
            _await_ready(client)
            client.create_stream("door", {"type": "push"})
            _push(client)
            visitor.await_stream("door")
            visitor.show("live")
            page.wait_for_selector("#live img")

            process.kill()
            visitor.await_state("lost")
            _is_lost(page)
            visitor.ask("what is there now?")
            visitor.await_chat("cannot be reached")

            process = Process(*arguments)
            _await_ready(client)
            client.create_stream("door", {"type": "push"})
            _push(client)
            page.wait_for_selector("#state:is([data-state=running], [data-state=stalled])")
            assert len(_said(page)) == 1
        finally:
            process.kill()


def test_a_server_that_is_silent_is_told_by_the_page_itself(visitor):
    with running_service(page=True) as service, ServiceClient(service.url) as client:
        client.create_stream("door", {"type": "push"})
        _push(client)
        page = visitor.page
        visitor.open(f"{service.url}/ui#tab=live&stream=door")
        page.wait_for_selector("#live img")
        page.context.route("**/queue/join*", lambda route: None)  # what it asks is never answered
        visitor.await_state("lost")
        _is_lost(page)
        page.context.unroute_all(behavior="ignoreErrors")


def _is_lost(page):
    assert _said(page)[0] == "disconnected"
    assert len(_said(page)) == 2
    style = page.locator("#live img").evaluate("(one) => getComputedStyle(one).filter")
    assert "grayscale" in style
    before = page.locator("#age").inner_text()
    until(lambda: page.locator("#age").inner_text() != before)
    assert _said(page)[0] == "disconnected"


def _await_ready(client):
    def is_ready():
        try:
            return client.ready()["status"] == "ready"
        except ServiceError:
            return False

    until(is_ready, seconds=240)
