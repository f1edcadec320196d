"""A moment on the page in a real browser: its clip plays, and what can be done from there."""

import base64
import io
import os
from pathlib import Path

import numpy as np
import pytest
from fake_camera import CHROMIUM
from owl_stream import push_owl
from page_visitor import PageVisitor, opened_anew, shown_page
from PIL import Image
from playwright.sync_api import expect
from service import running_service

from app.client import ServiceClient, ServiceError
from app.page.moment_part import _stream_id
from app.page.visitors import OWN, Visitor

SHOTS = Path(os.environ.get("VSTREAM_SCREENSHOTS", "runs/screenshots"))
OWL = "an owl is there now"
BEGAN = 1_700_000_000.0
ALIKE = 9
"""Mean difference of pixels between a kept picture and what the browser shows of it."""

pytestmark = [
    pytest.mark.skipif(not CHROMIUM.exists(), reason="no chromium: apt-get install chromium"),
    pytest.mark.filterwarnings("ignore"),
]


@pytest.fixture(scope="module")
def service():
    with running_service() as running:
        push_owl(running, BEGAN)
        running.post("/v1/streams/door/pause")
        running.post("/v1/streams", {"id": "a-gate", "source": {"type": "push"}})
        yield running


@pytest.fixture(scope="module")
def page_url(service):
    with ServiceClient(service.url) as client, shown_page(client) as (_, url):
        yield url


@pytest.fixture(scope="module")
def context(chromium):
    context = chromium.new_context(viewport={"width": 1280, "height": 1000})
    yield context
    context.close()


@pytest.fixture(scope="module")
def tab(context):
    return context.new_page()


@pytest.fixture
def page(tab, page_url):
    return find_owl(tab, page_url)


def find_owl(page, url):
    """The page with two moments listed."""
    opened_anew(page, f"{url}#tab=search&stream=door")
    page.wait_for_selector("#timeline svg .kept", timeout=60_000)
    PageVisitor(page).fill("words", OWL)
    page.get_by_role("button", name="Find when").click()
    expect(page.locator("#found [role=status]")).to_contain_text("Found 2 times")
    page.wait_for_function("() => !document.querySelector('#found progress')")
    return page


def visits(service):
    asked = {"statement": OWL, "stream_ids": ["door"]}
    return service.post("/v1/moments", asked)["data"]


def opened(page, number=0):
    page.locator("#found button.moment").nth(number).click()
    return playing(page)


def playing(page):
    """The dialog, once its clip is there."""
    dialog = page.locator("dialog#moment")
    expect(dialog.locator("video")).to_be_visible()
    return dialog


def seen(page):
    """What the video shows, as pixels, once it has come to rest there."""
    page.wait_for_function("() => !document.querySelector('#moment video').seeking")
    data = page.evaluate(
        """() => {
            const video = document.querySelector('#moment video');
            const canvas = document.createElement('canvas');
            [canvas.width, canvas.height] = [video.videoWidth, video.videoHeight];
            canvas.getContext('2d').drawImage(video, 0, 0);
            return canvas.toDataURL();
        }"""
    )
    return pixels(base64.b64decode(data.split(",")[1]))


def pixels(picture):
    return np.asarray(Image.open(io.BytesIO(picture)).convert("RGB"), float)


def kept(service, t_s):
    told = service.http.get("/v1/streams/door/frame.jpg", params={"t_s": t_s + 0.001})
    assert float(told.headers["x-stream-time"]) == t_s
    return pixels(told.content)


def test_a_moment_plays_as_a_clip_of_the_minute_around_it(page, service):
    dialog = opened(page, 1)
    spans = visits(service)
    expect(dialog).to_contain_text("0:28 to 0:36")
    begins_s = max(0.0, spans[1]["at_s"] - 4)
    page.wait_for_function(
        f"() => document.querySelector('#moment video').currentTime > {begins_s + 1}"
    )
    expect(dialog.locator("img")).to_be_hidden()
    SHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SHOTS / "moment-desktop.png")


def test_the_arrow_keys_and_buttons_go_from_picture_to_picture(page, service):
    dialog = opened(page)
    [first, _] = visits(service)
    page.evaluate("document.querySelector('#moment video').pause()")
    page.evaluate(f"document.querySelector('#moment video').currentTime = {first['at_s'] + 0.02}")
    at_s = first["at_s"]
    for key, by in (("ArrowRight", 1), ("ArrowRight", 1), ("ArrowLeft", -1)):
        page.keyboard.press(key)
        at_s += by
        expect(dialog.locator("h2")).to_have_text(f"0:{at_s:02.0f}")
        assert np.abs(seen(page) - kept(service, at_s)).mean() < ALIKE
    dialog.get_by_role("button", name="previous picture").click()
    expect(dialog.locator("h2")).to_have_text(f"0:{at_s - 1:02.0f}")
    assert page.evaluate("document.querySelector('#moment video').paused")


@pytest.mark.parametrize(("key", "way"), [("ArrowLeft", -1), ("ArrowRight", 1)])
def test_beyond_the_clip_comes_another_until_there_is_no_picture(
    page, service, monkeypatch, key, way
):
    monkeypatch.setattr("app.page.moment_part.HALF_S", 4.0)
    dialog = opened(page, 0 if way < 0 else 1)
    said, title = dialog.locator(".said"), dialog.locator("h2")
    at_s = visits(service)[0 if way < 0 else 1]["at_s"]
    page.evaluate("document.querySelector('#moment video').pause()")
    from_s = max(0, at_s - 4)
    page.evaluate(f"document.querySelector('#moment video').currentTime = {at_s - from_s + 0.02}")
    last_s = 0 if way < 0 else 39
    while at_s != last_s:
        at_s += way
        page.keyboard.press(key)
        expect(title).to_have_text(f"0:{at_s:02.0f}")
        expect(said).to_have_text("")
    page.wait_for_function("() => document.querySelector('#moment video').readyState > 1")
    assert np.abs(seen(page) - kept(service, last_s)).mean() < ALIKE
    page.keyboard.press(key)
    beside = "before" if way < 0 else "after"
    expect(said).to_have_text(f"There is no picture {beside} this one.")
    expect(title).to_have_text(f"0:{last_s:02.0f}")


def test_up_and_down_go_through_what_it_was_listed_with(page):
    dialog = opened(page)
    text = dialog.locator(".text")
    expect(text).to_contain_text("0:08 to 0:16")
    before = dialog.get_by_role("button", name="previous moment")
    expect(before).to_be_disabled()
    page.keyboard.press("ArrowDown")
    expect(text).to_contain_text("0:28 to 0:36")
    playing(page)
    expect(dialog.get_by_role("button", name="next moment")).to_be_disabled()
    before.click()
    expect(text).to_contain_text("0:08 to 0:16")
    playing(page)


def test_a_link_opens_the_page_at_this_moment(page, context, page_url):
    dialog = opened(page, 1)
    link = dialog.get_by_role("link", name="Copy link")
    address = link.get_attribute("href")
    assert address.startswith("?stream=door&t=2023-11-14T22%3A13%3A")
    shown_s = dialog.locator("h2").inner_text()
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    link.click()
    expect(dialog.locator(".said")).to_have_text("Link copied")
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied == f"{page_url}{address}"
    other = context.new_page()
    other.goto(copied, wait_until="load")
    expect(playing(other).locator(".text")).to_contain_text("of the stream, taken at")
    expect(other.locator("#moment [data-moments]:visible")).to_have_count(0)  # it is in no list
    assert other.locator("dialog#moment h2").inner_text() in (shown_s, "door")
    other.wait_for_function("() => document.querySelector('#stream').value === 'door'")
    other.keyboard.press("Escape")
    expect(other.locator("dialog#moment")).to_be_hidden()
    other.wait_for_function("() => !location.search")
    other.close()


def test_it_can_be_downloaded(page, service):
    dialog = opened(page)
    with page.expect_download() as downloading:
        dialog.get_by_role("link", name="Download").click()
    download = downloading.value
    assert download.suggested_filename.startswith("door-2023-11-14T2213")
    at_s = service.post("/v1/moments", {"statement": OWL, "stream_ids": ["door"]})["data"][0][
        "at_s"
    ]
    span = {"from_s": max(0, at_s - 30), "to_s": at_s + 30}
    whole = service.http.get("/v1/streams/door/clip.mp4", params=span).content
    assert Path(download.path()).read_bytes() == whole


def test_only_its_minute_is_asked_about(page, service):
    at_s = service.post("/v1/moments", {"statement": OWL, "stream_ids": ["door"]})["data"][0][
        "at_s"
    ]
    dialog = opened(page)
    dialog.get_by_role("button", name="Ask only about this minute").click()
    expect(dialog).to_be_hidden()
    expect(page.locator("#picked")).to_contain_text(f"0:00 to 0:{at_s + 30:02.0f} only")
    expect(page.locator("#question input, #question textarea")).to_be_focused()
    page.keyboard.type("what do you see now?")
    page.keyboard.press("Enter")
    moments = page.locator("#chat button.moment")
    expect(moments.first).to_be_visible()
    shown = [float(one.get_attribute("value").split()[0]) for one in moments.all()]
    assert 0 < max(shown) <= at_s + 30
    moments.first.click()
    expect(playing(page)).to_contain_text("score")


def test_escape_closes_it_and_the_focus_returns(page):
    button = page.locator("#found button.moment").first
    button.focus()
    page.keyboard.press("Enter")
    dialog = playing(page)
    expect(page.get_by_role("dialog", name="0:")).to_be_visible()
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    expect(button).to_be_focused()
    page.keyboard.press("Enter")
    playing(page).get_by_role("button", name="close").click()
    expect(dialog).to_be_hidden()
    expect(button).to_be_focused()
    assert page.evaluate("document.querySelector('#moment video').getAttribute('src')") is None


def test_on_a_phone_all_of_it_is_in_sight_and_large_enough_for_a_thumb(chromium, page_url):
    options = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
    context = chromium.new_context(**options)
    page = find_owl(context.new_page(), f"{page_url}?__theme=dark")
    page.locator("#found button.moment").first.tap()
    dialog = playing(page)
    deeds = dialog.locator(".deeds > :visible").all()
    assert len(deeds) == 8
    boxes = [dialog.bounding_box(), *(one.bounding_box() for one in deeds)]
    for box in boxes:
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 390
        assert box["y"] + box["height"] <= 844
        assert min(box["width"], box["height"]) >= 44
    page.screenshot(path=SHOTS / "moment-phone.png")
    context.close()


def test_of_what_was_forgotten_meanwhile_no_clip_is_shown(page, service):
    button = page.locator("#found button.moment").nth(1)
    service.http.delete("/v1/streams/door/memory?from_s=0&to_s=1000").raise_for_status()
    button.click()
    dialog = page.locator("dialog#moment")
    expect(dialog.locator(".said")).to_have_text("No picture is kept of this time any more.")
    expect(dialog.locator("video")).to_be_hidden()
    for deed in (".download", ".link"):
        expect(dialog.locator(deed)).to_be_hidden()


def test_another_visitors_camera_is_nobodys():
    visitor, other = Visitor(), Visitor()
    assert _stream_id(visitor, OWN) == _stream_id(visitor, visitor.camera_id) == visitor.camera_id
    assert _stream_id(visitor, "door") == "door"
    with pytest.raises(ServiceError, match="there is no such stream"):
        _stream_id(visitor, other.camera_id)
