"""Each part of the page over real cameras: what it shows, what is blank at once, and for whom it
can be read.
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import axe_playwright_python
import pytest
from fake_camera import CHROMIUM
from owl_stream import write_owl_video
from page_visitor import PageVisitor, pixels_of, visit
from playwright.sync_api import expect
from processes import until
from rtsp_camera import RtspCamera
from service import running_service

from app.sample import SAMPLE_VIDEO

AXE = Path(axe_playwright_python.__file__).with_name("axe.min.js").read_text()
PARTS = ("cameras", "live", "ask", "alerts", "search", "recap")
WIDTHS = (390, 820, 1280)
SCHEMES = ("light", "dark")
OF_GRADIO = {"nested-interactive": ("['.toast-header']",)}
"""Rules that Gradio's own elements break where that cannot be mended from outside: a message that
pops up, as when an alert fires, is a button with another one in it.
"""
_WATCH_FRAMES = """() => {
  window.frames_ = [];
  const look = () => {
    window.frames_.push({
      chosen: document.querySelector('#stream').value,
      of: [...document.querySelectorAll('[data-of]')].filter((one) => one.checkVisibility())
        .map((one) => one.dataset.of),
      state: document.querySelector('#state').dataset.state,
      strip: document.querySelectorAll('#timeline .kept').length,
    });
    requestAnimationFrame(look);
  };
  look();
}"""
"""What can be seen in each frame that is painted."""

pytestmark = [
    pytest.mark.skipif(not CHROMIUM.exists(), reason="no chromium: apt-get install chromium"),
    pytest.mark.filterwarnings("ignore"),
]


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    """Two cameras: the sample at the front, an owl in the yard."""
    folder = tmp_path_factory.mktemp("cameras")
    write_owl_video(folder / "owl.mp4")
    front = Path(shutil.copy(SAMPLE_VIDEO, folder / "front.mp4"))
    with RtspCamera(front) as camera:
        streams = [
            {"id": "front", "source": {"url": camera.url}},
            {"id": "yard", "source": {"url": camera.url.replace("front.mp4", "owl.mp4")}},
        ]
        with running_service(page=True, streams=streams, allow_private=True) as running:
            for name in ("front", "yard"):
                running.await_stream(name, lambda told: told["memory"]["blocks"] > 2, timeout_s=60)
            yield running


@pytest.fixture(scope="module")
def visitor(chromium, service):
    context = chromium.new_context(viewport={"width": 1280, "height": 1000})
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    visitor = PageVisitor(context.new_page())
    visitor.open(f"{service.url}/ui")
    visitor.await_page()
    yield visitor
    context.close()


def test_the_wall_shows_every_camera_and_opens_it(visitor):
    page = visitor.page
    cards = page.locator("a.camera")
    expect(cards).to_have_count(2)
    for name, card in zip(("front", "yard"), cards.all(), strict=True):
        expect(card.locator(".name b")).to_have_text(name)
        expect(card.locator(".pill")).to_have_text("live")
        expect(card.locator(".old")).to_contain_text("newest frame")
        expect(card.locator(".last")).to_have_text("no alerts yet")
        expect(card.locator("img")).to_be_visible()
    taken = cards.first.locator("img").get_attribute("src")
    expect(cards.first.locator("img")).not_to_have_attribute("src", taken)  # it goes on
    cards.nth(1).click()
    expect(page.locator("#live figure")).to_be_visible()
    assert visitor.stream == "yard"
    page.go_back()
    expect(cards.first).to_be_visible()


def test_live_shows_picture_state_and_strip_of_the_stream(visitor, service):
    visitor.choose("front")
    visitor.show("live")
    visitor.await_state("running")
    page = visitor.page
    expect(page.locator("#live figcaption")).to_contain_text("taken at")
    assert pixels_of(page.locator("#live img").get_attribute("src")).shape[:2] == (384, 384)
    expect(page.locator("#details")).to_contain_text("KV blocks in memory")
    page.wait_for_selector("#timeline .kept")
    page.get_by_role("button", name="Pause").click()
    visitor.await_state("paused")
    page.get_by_role("button", name="Resume").click()
    visitor.await_state("running")


def test_a_chat_belongs_to_its_stream_and_an_answer_can_be_had_elsewhere(visitor, service):
    page = visitor.page
    visitor.choose("front")
    visitor.ask("what is there now?")
    visitor.await_chat("newest frame")
    assert len(visitor.moments("#chat")) >= 1
    page.locator("#chat .copy", has_text="curl").click()
    expect(page.locator("#chat .copy").first).to_have_text("Copied")
    curl = page.evaluate("navigator.clipboard.readText()")
    told = subprocess.run(["bash", "-c", curl], capture_output=True, check=True).stdout
    assert json.loads(told)["vstream"][0]["stream_id"] == "front"
    python = page.locator("#chat .copy", has_text="Python").get_attribute("value")
    said = subprocess.run([sys.executable, "-c", python], capture_output=True, check=True).stdout
    assert said.strip()
    visitor.choose("yard")
    expect(page.locator("#chat .exchange")).to_be_hidden()
    expect(page.locator("#chat-blank")).to_be_visible()
    visitor.choose("front")
    expect(page.locator("#chat .exchange")).to_be_visible()


def test_switching_shows_nothing_of_the_one_before_for_a_single_frame(visitor, service):
    page = visitor.page
    visitor.choose("front")
    visitor.show("live")
    page.wait_for_selector("#timeline .kept")
    expect(page.locator("#chat .exchange")).to_be_visible()
    page.evaluate(_WATCH_FRAMES)
    with service.service.loaded.model.turn:  # the service answers nobody
        page.locator("#stream").select_option("yard")
        page.wait_for_function("frames_.filter((one) => one.chosen === 'yard').length > 9")
        seen = [one for one in page.evaluate("window.frames_") if one["chosen"] == "yard"]
        for one in seen:
            assert set(one["of"]) <= {"yard"}
            assert one["strip"] == 0
    page.wait_for_selector("#timeline .kept")
    page.wait_for_function("frames_.some((one) => one.chosen === 'yard' && one.of.length)")
    shown = [one for one in page.evaluate("window.frames_") if one["chosen"] == "yard"]
    assert {name for one in shown for name in one["of"]} == {"yard"}


def test_alerts_fire_into_an_inbox_which_is_seen_by_all(chromium, visitor, service):
    page = visitor.page
    visitor.choose("yard")
    visitor.show("alerts")
    expect(page.locator("#inbox")).to_contain_text("No alert has fired yet.")
    visitor.fill("condition", "an owl is there")
    page.get_by_role("button", name="Add alert").click()
    alert = page.locator("#alerts .alert")
    expect(alert).to_contain_text("an owl is there")
    expect(page.locator("#inbox .is-unseen").first).to_contain_text("yard", timeout=120_000)
    expect(page.get_by_role("link", name="Alerts")).to_contain_text("1")
    expect(alert).to_contain_text("fired once")
    service.post("/v1/streams/yard/pause")  # it fires no more
    count = page.locator("#inbox .is-unseen").count()
    page.locator("#inbox .see").first.click()
    expect(page.locator("#inbox .is-unseen")).to_have_count(count - 1)
    told = service.get("/v1/firings", params={"unseen": True})
    assert told["unseen"] == count - 1
    page.get_by_role("button", name="Unseen only").click()
    expect(page.locator("#inbox .firings li")).to_have_count(count - 1)
    page.get_by_role("button", name="Unseen only").click()
    with visit(chromium, f"{service.url}/ui#tab=alerts") as other:
        expect(other.page.locator("#inbox .firings li").first).to_contain_text("yard")
        expect(other.page.locator("#inbox .is-unseen")).to_have_count(count - 1)
    expect(page.locator("#timeline")).to_be_hidden()
    visitor.show("cameras")
    expect(page.locator("a.camera.has-alert .last")).to_contain_text("an owl is there")


def test_the_history_is_searched(visitor):
    visitor.choose("front")
    visitor.show("search")
    visitor.fill("words", "a burger")
    visitor.page.keyboard.press("Enter")
    expect(visitor.page.locator("#found")).to_contain_text("A match may be wrong")
    assert visitor.moments("#found")


def test_a_recap_tells_what_came_and_left(visitor):
    page = visitor.page
    visitor.show("recap")
    page.get_by_label("All cameras").uncheck()
    visitor.choose("yard")
    page.get_by_role("button", name="Recap", exact=True).click()
    expect(page.locator("#recapped [role=status]")).to_contain_text("came or left: yard")
    expect(page.locator("#stop-recap")).to_be_hidden()


def test_what_deletes_a_camera_says_what_goes_and_asks(visitor, service):
    page = visitor.page
    service.post("/v1/streams", {"id": "spare", "source": {"type": "push"}})
    visitor.choose("spare")
    visitor.show("live")
    for choice, remain in (("Cancel", True), ("Delete", False)):
        page.locator("#controls").get_by_role("button", name="Delete").click()
        dialog = page.get_by_role("dialog", name="Delete spare?")
        expect(dialog).to_contain_text("cannot be undone")
        dialog.get_by_role("button", name=choice).click()
        expect(dialog).to_be_hidden()
        ids = lambda: [one["id"] for one in service.get("/v1/streams")["data"]]  # noqa: E731
        until(lambda: ("spare" in ids()) == remain)  # noqa: B023
    until(lambda: visitor.stream == "front")


def _broken(page):
    """What axe-core finds serious, of ours."""
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    return {
        (one["id"], str(node["target"]), node["failureSummary"])
        for one in found["violations"]
        if one["impact"] in ("serious", "critical")
        for node in one["nodes"]
        if str(node["target"]) not in OF_GRADIO.get(one["id"], ())
    }


@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_part_can_be_read_by_everybody(visitor, scheme):
    """Each part at each width, in one of the schemes, and in both of them at some width."""
    page = visitor.page
    page.emulate_media(color_scheme=scheme)
    page.evaluate(AXE)
    visitor.choose("front")
    page.evaluate("document.body.classList.add('is-adding')")
    for column, width in enumerate(WIDTHS):
        page.set_viewport_size({"width": width, "height": 900})
        for row, part in enumerate(PARTS):
            if (row + column) % 2 == SCHEMES.index(scheme):
                visitor.show(part)
                assert not _broken(page), (width, part)
                assert visitor.widest() <= 0, (width, part)
    visitor.show("ask")
    page.locator("#chat button.moment").first.click()
    assert not _broken(page), "a moment"
    page.keyboard.press("Escape")
    page.set_viewport_size({"width": 1280, "height": 1000})
    page.emulate_media(color_scheme="light")
    page.evaluate("document.body.classList.remove('is-adding')")


def test_every_field_has_a_name_of_its_own(visitor):
    told = visitor.page.evaluate(
        "[...document.querySelectorAll('input, textarea, select')]"
        ".map((one) => one.labels?.[0]?.innerText || one.ariaLabel || '')"
    )
    assert not {"", "Textbox", "Dropdown", "HTML", "Checkbox"} & {one.strip() for one in told}, told


def test_an_alert_is_deleted_once_that_is_confirmed(visitor, service):
    page = visitor.page
    visitor.choose("yard")
    visitor.show("alerts")
    on_all = {"stream_ids": ["*"], "condition": "tell me when a bee is there"}
    alert_id = service.post("/v1/alerts", on_all)["id"]
    expect(page.locator("#alerts")).to_contain_text("a bee is there")
    service.delete(f"/v1/alerts/{alert_id}")
    expect(page.locator("#alerts")).not_to_contain_text("a bee is there")
    page.get_by_role("button", name="Delete alert an owl is there").click()
    dialog = page.get_by_role("dialog", name="Delete the alert “an owl is there”?")
    dialog.get_by_role("button", name="Delete").click()
    expect(page.locator("#alerts")).to_contain_text("No alerts on yard yet.")
    expect(page.locator("#inbox .firings li")).to_have_count(0)
