"""The page that a service shows itself, in a real browser: its key and videos."""

import pytest
from fake_camera import CHROMIUM
from page_visitor import visit
from processes import Process, until

from app.client import ServiceClient, ServiceError
from app.sample import SAMPLE_VIDEO

KEY = "a-key-that-is-long-enough"

pytestmark = [
    pytest.mark.skipif(not CHROMIUM.exists(), reason="no chromium: apt-get install chromium"),
    pytest.mark.filterwarnings("ignore"),
]


@pytest.fixture(scope="module")
def page_url():
    process = Process("serve", "--port", "0", "--threads", "1", VSTREAM_API_KEY=KEY)
    url = process.found(r"page at (\S+)", seconds=120)

    def is_ready():
        try:
            return ServiceClient(url.removesuffix("/ui"), KEY).ready()["status"] == "ready"
        except ServiceError:
            return False

    try:
        until(is_ready, seconds=120)
        yield url
    finally:
        code = process.terminate()
    assert code == 0, "".join(process.err)
    assert not any("Traceback" in line for line in process.err), "".join(process.err)


@pytest.fixture(scope="module")
def visitor(chromium, page_url):
    """Has entered with the key; a phone."""
    with visit(chromium, page_url, 390, 844) as visitor:
        page = visitor.page
        page.wait_for_selector("text=The password is the service's key", timeout=60_000)
        assert page.locator("#question").count() == 0
        assert page.request.get(f"{page_url}/config").status == 401
        _enter(page, "a wrong one")
        page.wait_for_selector("text=/incorrect/i", timeout=60_000)
        _enter(page, KEY)
        visitor.await_page()
        yield visitor


def _enter(page, password):
    for number, text in enumerate(("me", password)):
        page.locator("input").nth(number).fill(text)
    page.get_by_role("button", name="Login").click()


def test_a_page_without_a_stream_asks_for_one_and_knows_that_it_hears_its_server(visitor):
    page = visitor.page
    page.wait_for_selector("text=No cameras yet.", timeout=60_000)
    assert page.locator("#source-part").is_visible()
    page.wait_for_timeout(9_000)
    assert page.locator("#state").get_attribute("data-state") == "none"
    visitor.ask("what is there now?")
    visitor.await_chat("There is no stream to ask about yet.")


def test_a_video_is_uploaded_and_asked_about(visitor, page_url):
    page = visitor.page
    visitor.add_source()
    page.get_by_role("tab", name="Video").click()
    page.locator("#file input[type=file]").set_input_files(SAMPLE_VIDEO)
    page.wait_for_selector("#file >> text=sample_stream", timeout=60_000)
    page.get_by_text("as fast as possible").click()
    page.locator("#add-video").click()
    visitor.await_stream("sample-stream")
    visitor.await_state("ended", seconds=90)
    client = ServiceClient(page_url.removesuffix("/ui"), KEY)
    assert client.stream("sample-stream").stream_s == pytest.approx(149.75, abs=1)
    visitor.ask("have you seen a burger?")
    visitor.await_chat("yes")
    assert len(visitor.moments("#chat")) == 6
    assert "Authorization" in page.locator("#chat .copy").first.get_attribute("value")
    assert KEY not in page.content()
    assert visitor.widest() <= 0


def test_the_sample_is_added_and_restarted(visitor):
    page = visitor.page
    visitor.add_source()
    page.locator("#add-sample").click()
    visitor.await_stream("sample")
    visitor.await_state("running")
    page.wait_for_selector("#live img", timeout=60_000)
    assert page.evaluate("document.body.dataset.part") == "live"
    page.get_by_role("button", name="Restart").click()
    visitor.await_state("running")


def test_an_address_that_is_not_open_is_refused_in_words(visitor):
    page = visitor.page
    visitor.add_source()
    page.get_by_role("tab", name="Address").click()
    visitor.fill("source-url", "/etc/passwd")
    page.locator("#add-address").click()
    page.wait_for_selector("#source-said >> text=allow_files", timeout=60_000)


def test_examples_fit_the_stream_and_the_model_is_told_where_it_knows_nothing(visitor, page_url):
    page, client = visitor.page, ServiceClient(page_url.removesuffix("/ui"), KEY)
    client.create_stream("drive", {"type": "push"})
    for name, example, is_warned in (("sample", "burger", False), ("drive", "anyone", True)):
        visitor.choose(name)
        visitor.show("ask")
        shown = page.locator("#chat .example", has_text=example)
        assert shown.is_visible()
        warning = page.locator(".banner.model")
        assert warning.is_visible() == is_warned
    assert "knows drawings only" in warning.inner_text()
    assert visitor.widest() <= 0
