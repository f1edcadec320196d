"""A statement on the page in a real browser: its spans on the strip, their pictures, the rest."""

import base64
import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
from fake_camera import CHROMIUM
from owl_stream import VISITS, push_owl
from page_visitor import PageVisitor, opened_anew, shown_page
from playwright.sync_api import expect
from processes import until
from service import running_service

from app.client import ServiceClient
from app.page.words import covered
from app.server.moment_documents import CoveredDocument
from vstream.search.finding import EFFORTS

SHOTS = Path(os.environ.get("VSTREAM_SCREENSHOTS", "runs/screenshots"))
NOW = "what do you see now?"
OWL = "an owl is there now"
FOUND = "Found 2 times: looked at"

pytestmark = [
    pytest.mark.skipif(not CHROMIUM.exists(), reason="no chromium: apt-get install chromium"),
    pytest.mark.filterwarnings("ignore"),
]


@pytest.fixture(scope="module")
def service():
    """One that finds for as long as it takes, however slow the machine is."""
    unhurried = replace(EFFORTS["default"], milliseconds=None)
    with pytest.MonkeyPatch.context() as patch, running_service() as running:
        patch.setitem(EFFORTS, "default", unhurried)
        push_owl(running)
        running.post("/v1/streams/door/pause")
        yield running


@pytest.fixture(scope="module")
def page_url(service):
    with ServiceClient(service.url) as client, shown_page(client) as (_, url):
        yield url


@pytest.fixture(scope="module")
def tab(chromium):
    context = chromium.new_context(viewport={"width": 1280, "height": 1000})
    yield context.new_page()
    context.close()


@pytest.fixture
def page(tab, page_url):
    return _open(tab, page_url)


def _open(page, url):
    opened_anew(page, f"{url}#tab=search&stream=door")
    page.wait_for_selector("#timeline svg .kept", timeout=60_000)
    return page


def _look_for(page, statement):
    PageVisitor(page).fill("words", statement)
    page.get_by_role("button", name="Find when").click()


def _painted(page):
    """Where the spans on the strip begin and end, in pixels from its left."""
    left = page.locator("#timeline svg").bounding_box()["x"]
    boxes = [one.bounding_box() for one in page.locator("#timeline .found").all()]
    return [one - left for box in boxes for one in (box["x"], box["x"] + box["width"])]


def _pixels(page, *visits):
    """The same of stretches that are known."""
    told = page.evaluate("document.querySelector('#timeline [data-shown]').dataset.shown")
    stretch, width = json.loads(told), page.locator("#timeline svg").bounding_box()["width"]
    length_s = stretch["to"] - stretch["from"]
    ends_s = [end_s for visit in visits for end_s in (visit.start, visit.stop)]
    places = [width * (end_s - stretch["from"]) / length_s for end_s in ends_s]
    return pytest.approx(places, abs=1.5)


def _point_at(page, time_s):
    strip = page.locator("#timeline svg")
    strip.scroll_into_view_if_needed()
    box = strip.bounding_box()
    return box["x"] + _pixels(page, range(time_s, time_s)).expected[0], box["y"] + 78


def test_spans_are_painted_where_it_was_so_and_told_in_words_with_their_pictures(page, service):
    _look_for(page, OWL)
    status = page.locator("#found [role=status]")
    expect(status).to_contain_text(FOUND)
    whole = service.post("/v1/moments", {"statement": OWL, "stream_ids": ["door"]})
    assert [(one["from_s"], one["to_s"]) for one in whole["data"]] == [
        (visit.start, visit.stop) for visit in VISITS
    ]
    expect(page.locator("#timeline .found")).to_have_count(2)
    until(lambda: _painted(page) == _pixels(page, *VISITS))  # it is drawn anew as it comes
    parts = [CoveredDocument.model_validate(one) for one in whole["coverage"]["door"]]
    assert status.inner_text() == f"Found 2 times: {covered(parts)}."
    pictures = page.locator("#found button.moment")
    assert pictures.locator("span").all_inner_texts() == ["0:08 - 0:16", "0:28 - 0:36"]
    shown = pictures.nth(1).locator("img").get_attribute("src")
    decides = service.http.get(whole["data"][1]["frame_url"]).content
    assert base64.b64decode(shown.split(",")[1]) == decides
    SHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SHOTS / "find-desktop.png", full_page=True)


def test_a_click_on_a_span_shows_the_picture_that_decides(page, service):
    _look_for(page, OWL)
    expect(page.locator("#found [role=status]")).to_contain_text(FOUND)
    first, _ = service.post("/v1/moments", {"statement": OWL, "stream_ids": ["door"]})["data"]
    page.mouse.move(*_point_at(page, 15))
    tip = page.locator("#timeline .history-tip span")
    expect(tip).to_contain_text(f"0:08 to 0:16, {first['probability']:.0%} probable: “{OWL}”")
    page.mouse.click(*_point_at(page, 15))
    larger = page.locator("dialog#moment")
    expect(larger).to_be_visible()
    decides = service.http.get(first["frame_url"]).content
    assert base64.b64decode(larger.locator("img").get_attribute("src").split(",")[1]) == decides
    expect(larger).to_contain_text("probable")


def test_with_the_keyboard_alone_it_is_asked_and_what_was_found_is_reached(page):
    words = page.get_by_role("textbox", name="What to look for")
    words.focus()
    page.keyboard.type(OWL)
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Find when")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#found [role=status]")).to_contain_text(FOUND)
    expect(page.locator("#stop-finding")).to_be_hidden()
    page.wait_for_function("() => !document.querySelector('#found progress')")
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="0:08 to 0:16")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("dialog#moment")).to_contain_text("0:08 to 0:16")
    page.keyboard.press("Escape")
    expect(page.locator("dialog#moment")).to_be_hidden()


def test_a_stretch_that_is_picked_bounds_what_is_looked_through(page):
    begin = page.locator("#timeline [name=from]")
    begin.fill("0:20")
    begin.press("Enter")
    expect(page.locator("#timeline output")).to_have_text("only from 0:20 to 0:39")
    _look_for(page, OWL)
    expect(page.locator("#found [role=status]")).to_contain_text("Found once: looked at")
    assert _painted(page) == _pixels(page, VISITS[1])
    page.get_by_role("button", name="Search", exact=True).click()
    expect(page.locator("#found")).to_contain_text("Best matches")
    times = page.locator("#found button.moment span").all_inner_texts()
    assert min(times) >= "0:20"
    expect(page.locator("#timeline .found")).to_have_count(0)


def test_on_the_strip_of_another_stream_nothing_of_it_is_painted(page, service):
    _look_for(page, OWL)
    expect(page.locator("#timeline .found")).to_have_count(2)
    service.post("/v1/streams", {"id": "gate", "source": {"type": "push"}})
    PageVisitor(page).choose("gate")
    expect(page.locator("#timeline .found")).to_have_count(0)
    service.delete("/v1/streams/gate")


def test_what_is_not_found_is_said(page):
    _look_for(page, "a burger is there now")
    expect(page.locator("#found [role=status]")).to_contain_text("Not found: looked at")
    expect(page.locator("#timeline .found")).to_have_count(0)
    _look_for(page, " ")
    expect(page.locator("#found")).to_contain_text("Type what to look for.")


@pytest.mark.parametrize("how", ["button", "Escape"])
def test_it_is_stopped_and_the_service_does_no_more_of_it(page, service, how):
    loaded, answering = service.service.loaded, service.service.answering
    service.ask(NOW, "stream://door")
    facts = loaded.streams.get("door").session.memory.facts
    known = len(facts)
    with loaded.model.turn:  # nothing is judged meanwhile
        _look_for(page, f"a cup is in view, by {how}")
        expect(page.get_by_role("progressbar")).to_be_visible()
        expect(page.locator("#found")).to_contain_text("0 moments judged, 0 spans found so far")
        stop = page.locator("#stop-finding")
        expect(stop).to_be_visible()
        stop.click() if how == "button" else page.keyboard.press("Escape")
        expect(page.locator("#found [role=status]")).to_contain_text("the rest was not looked at")
        expect(stop).to_be_hidden()
        page.wait_for_function("() => !document.querySelector('#found progress')")
        until(lambda: not answering.num)
    service.ask(NOW, "stream://door")  # comes after what had begun
    assert len(facts) == known


def test_what_is_written_is_text_and_never_markup(page):
    _look_for(page, '<img id="evil" src="x"> an owl is there now')
    expect(page.locator("#found [role=status]")).to_be_visible()
    assert page.locator("#evil").count() == 0


def test_on_a_phone_all_of_it_is_in_sight(chromium, page_url):
    context = chromium.new_context(
        viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True
    )
    page = _open(context.new_page(), f"{page_url}?__theme=dark")
    PageVisitor(page).fill("words", OWL)
    find = page.get_by_role("button", name="Find when")
    box = find.bounding_box()
    assert box["height"] >= 40
    find.tap()
    expect(page.locator("#found [role=status]")).to_contain_text(FOUND)
    assert PageVisitor(page).widest() <= 0
    until(lambda: _painted(page) == _pixels(page, *VISITS))  # it is drawn anew as it comes
    page.screenshot(path=SHOTS / "find-phone.png", full_page=True)
    context.close()
