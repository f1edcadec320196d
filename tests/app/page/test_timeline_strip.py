"""The strip in a real browser: what it draws, where the memory looked, and what gestures do."""

import base64
import io
import json
import os
import time
from pathlib import Path

import pytest
from fake_camera import CHROMIUM
from owl_stream import owl_frames
from page_visitor import opened_anew, shown_page
from PIL import Image
from playwright.sync_api import expect
from processes import until
from service import running_service

from app.client import ServiceClient

SHOTS = Path(os.environ.get("VSTREAM_SCREENSHOTS", "runs/screenshots"))
APART_S = 60
BLOCKS = 45
END_S = APART_S * (BLOCKS - 1)
MARKUP = '<img id="evil" src="x" onerror="document.title=1">'

pytestmark = [
    pytest.mark.skipif(not CHROMIUM.exists(), reason="no chromium: apt-get install chromium"),
    pytest.mark.filterwarnings("ignore"),
]


class CountingClient(ServiceClient):
    """Counts how often a history was asked for."""

    asked = 0

    def timeline(self, *arguments):
        self.asked += 1
        return super().timeline(*arguments)


@pytest.fixture(scope="module")
def service():
    with running_service() as running:
        yield running


@pytest.fixture(scope="module")
def client(service):
    """Of a service with one stream: a moment each minute, and an alert that has fired on it."""
    with CountingClient(service.url) as client:
        client.create_stream("door", {"type": "push"}, sampling={"fps": 1, "dedup": 0})
        _push(service, range(BLOCKS - 1))
        client.add_alert("door", MARKUP, threshold=0, confirmations=1, cooldown_s=0)
        _push(service, range(BLOCKS - 1, BLOCKS))
        until(lambda: [one for one in client.alerts() if one.firings])
        assert client.pause("door").state == "paused"
        yield client


def _push(service, numbers):
    """Drawings: an alert of the embedded model tells of nothing else."""
    frames = owl_frames()
    for number in numbers:
        buffer = io.BytesIO()
        Image.fromarray(frames[8 * number % len(frames)].pixels).save(buffer, "JPEG")
        headers = {"X-Capture-Time": str(1.7e9 + APART_S * number)}
        service.http.post("/v1/streams/door/frames", content=buffer.getvalue(), headers=headers)
        service.await_stream("door", lambda told: told["memory"]["blocks"] > number)  # noqa: B023


@pytest.fixture(scope="module")
def served(client):
    with shown_page(client) as shown:
        yield shown


@pytest.fixture(scope="module")
def tab(chromium):
    context = chromium.new_context(viewport={"width": 1280, "height": 1000})
    yield context.new_page()
    context.close()


@pytest.fixture
def shown(tab, served):
    return _open(tab, served[1])


def _open(page, url, scheme="light"):
    page.emulate_media(color_scheme=scheme)
    opened_anew(page, f"{url}#tab=live&stream=door")
    page.wait_for_selector("#timeline svg .kept", timeout=60_000)
    page.wait_for_selector("#timeline svg .fired", timeout=60_000)
    page.locator("#timeline svg").scroll_into_view_if_needed()
    _await_rest(page)
    return page


def _await_rest(page):
    """Until what is above the strip moves it no more."""
    places = [_strip(page)]

    def rests():
        page.wait_for_timeout(250)
        places.append(_strip(page))
        return places[-1] == places[-2]

    until(rests)


def _strip(page):
    return page.locator("#timeline svg").bounding_box()


def _stretch(page):
    told = page.evaluate("document.querySelector('#timeline [data-shown]').dataset.shown")
    return json.loads(told)


def _at(page, time_s, y=60):
    """Where a time stands on the screen."""
    strip, stretch = _strip(page), _stretch(page)
    share = (time_s - stretch["from"]) / (stretch["to"] - stretch["from"])
    return strip["x"] + share * strip["width"], strip["y"] + y


def _ask(page, text):
    field = page.locator("#question textarea, #question input").first
    field.fill(text)
    field.press("Enter")


def _drag(page, from_s, to_s, y=60):
    (begin_x, y), (end_x, _) = _at(page, from_s, y), _at(page, to_s, y)
    page.mouse.move(begin_x, y)
    page.mouse.down()
    page.mouse.move(end_x, y, steps=4)
    page.mouse.up()


def _fired_s(client):
    (alert,) = client.alerts()
    return alert.firings[0].at_s


def _visitor(served):
    return max(served[0].visitors, key=lambda one: len(one.exchanges))


def test_the_whole_history_is_drawn_with_its_changes_its_firings_and_the_present(shown, client):
    assert _stretch(shown) == {"from": 0, "to": END_S}
    strip = _strip(shown)
    now = shown.locator("#timeline .now").first.bounding_box()
    assert now["x"] == pytest.approx(strip["x"] + strip["width"], abs=2)
    fired = shown.locator("#timeline .fired").first.bounding_box()
    assert fired["x"] + fired["width"] / 2 == pytest.approx(_at(shown, _fired_s(client))[0], abs=2)
    assert shown.locator("#timeline .change").count() > 5
    words = shown.locator("#timeline svg text:not(.now-word)").all_text_contents()
    assert {"5:00", "20:00", "40:00"} <= set(words)


def test_it_is_not_asked_for_again_before_it_can_have_changed(shown, client):
    shown.wait_for_timeout(1500)
    before, began = client.asked, time.monotonic()
    shown.wait_for_timeout(5000)
    passed_s = time.monotonic() - began
    assert client.asked <= before + 1 + passed_s // 11  # of 44 minutes once in 11 s


def test_the_wheel_zooms_about_the_pointer_and_the_axis_is_dragged(shown):
    shown.mouse.move(*_at(shown, 1200))
    place = _at(shown, 1200)
    shown.mouse.wheel(0, -500)
    expect(shown.locator("#timeline svg text", has_text="20:00")).to_be_visible()
    stretch = _stretch(shown)
    assert 600 < stretch["to"] - stretch["from"] < 1500
    assert _at(shown, 1200)[0] == pytest.approx(place[0], abs=2)
    _drag(shown, 1200, 1100, y=115)
    until(
        lambda: _stretch(shown)["from"] == pytest.approx(stretch["from"] + 100, abs=5), seconds=60
    )
    panned = _stretch(shown)
    assert panned["to"] - panned["from"] == pytest.approx(stretch["to"] - stretch["from"])
    expect(shown.locator("#timeline [data-clear]")).to_be_hidden()
    shown.get_by_role("button", name="10 min").click()
    assert _stretch(shown) == {"from": END_S - 600, "to": END_S}
    shown.locator("#timeline svg").press("0")
    assert _stretch(shown) == {"from": 0, "to": END_S}


def test_where_the_pointer_rests_the_moment_is_shown_and_a_click_shows_it_larger(shown, service):
    shown.mouse.move(*_at(shown, 1202))
    image = shown.locator("#timeline .history-tip img")
    expect(image).to_be_visible(timeout=60_000)
    expect(shown.locator("#timeline .history-tip b")).to_contain_text("20:0")
    told = base64.b64decode(image.get_attribute("src").split(",")[1])
    assert told == service.http.get("/v1/streams/door/frame.jpg", params={"t_s": 1202}).content
    shown.mouse.click(*_at(shown, 1202))
    larger = shown.locator("dialog#moment")
    expect(larger).to_be_visible()
    assert larger.locator("img").get_attribute("src") == image.get_attribute("src")
    shown.keyboard.press("Escape")
    expect(larger).to_be_hidden()


def test_with_the_keyboard_a_moment_is_found_and_shown(shown):
    strip = shown.locator("#timeline svg")
    strip.focus()
    for _ in range(3):
        strip.press("ArrowLeft")
    expect(shown.locator("#timeline .history-tip img")).to_be_visible(timeout=60_000)
    strip.press("Enter")
    expect(shown.locator("dialog#moment")).to_be_visible()
    shown.get_by_role("button", name="close").click()
    expect(shown.locator("dialog#moment")).to_be_hidden()


def test_a_range_that_is_dragged_bounds_the_next_question_until_it_is_cleared(shown, served):
    _drag(shown, 600, 900)
    assert [shown.locator(f"#timeline [name={name}]").input_value() for name in ("from", "to")] == [
        "10:00",
        "15:00",
    ]
    expect(shown.locator("#picked")).to_contain_text("10:00")
    _ask(shown, "what is there now?")
    expect(shown.locator("#timeline .cited").first).to_be_visible(timeout=60_000)
    asked = _visitor(served).exchanges[-1]
    times = [one.end_s for one in asked.citations]
    assert times
    assert all(595 <= time_s <= 905 for time_s in times)
    bars = shown.locator("#timeline .cited").all()
    middles = sorted(box["x"] + box["width"] / 2 for box in (bar.bounding_box() for bar in bars))
    assert middles == pytest.approx(sorted(_at(shown, time_s)[0] for time_s in times), abs=1.5)
    shown.locator("#timeline [data-clear]").click()
    expect(shown.locator("#timeline rect.picked")).to_have_count(0)
    expect(shown.locator("#picked")).to_be_hidden()
    _ask(shown, "what did you see?")
    shown.wait_for_function("document.querySelectorAll('#timeline .history-legend i').length >= 4")
    times = [one.end_s for one in _visitor(served).exchanges[-1].citations]
    assert max(times) > 905
    fills = shown.evaluate(
        "[...new Set([...document.querySelectorAll('#timeline .cited')]"
        ".map((one) => one.getAttribute('fill') + one.getAttribute('opacity')))]"
    )
    assert len(fills) == 2  # one colour for each answer, the newest strongest


def test_a_range_is_typed_and_what_is_no_time_is_marked(shown):
    begin, end = (shown.locator(f"#timeline [name={name}]") for name in ("from", "to"))
    begin.fill("soon")
    begin.press("Enter")
    expect(begin).to_have_attribute("aria-invalid", "true")
    begin.fill("2:10")
    end.fill("5:00")
    end.press("Enter")
    expect(shown.locator("#picked")).to_contain_text("2:10")
    expect(shown.locator("#timeline output")).to_have_text("only from 2:10 to 5:00")
    box = shown.locator("#timeline rect.picked").bounding_box()
    assert box["x"] == pytest.approx(_at(shown, 130)[0], abs=2)
    shown.locator("#clear-range button, button#clear-range").first.click()
    expect(begin).to_have_value("")
    expect(shown.locator("#timeline rect.picked")).to_have_count(0)


def test_what_people_wrote_is_text_and_never_markup(shown, client):
    _ask(shown, f"what is there now? {MARKUP}")
    legend = shown.locator("#timeline .history-legend")
    expect(legend).to_contain_text("onerror", timeout=60_000)
    shown.mouse.move(*_at(shown, _fired_s(client)))
    expect(shown.locator("#timeline .history-tip span")).to_contain_text("onerror")
    assert shown.locator("#timeline #evil").count() == 0
    assert shown.title() == "vstream"


def test_on_a_phone_fingers_pick_and_zoom_and_every_other_tick_has_no_words(chromium, served):
    context = chromium.new_context(
        viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True
    )
    page = _open(context.new_page(), served[1])
    strip = _strip(page)
    assert strip["x"] >= 0
    assert strip["x"] + strip["width"] <= 390
    wide = page.evaluate("document.querySelector('#timeline').scrollWidth")
    assert strip["x"] + wide <= 390
    ticks = page.locator("#timeline .axis").count()
    words = page.locator("#timeline svg text:not(.now-word)").count()
    assert words <= ticks / 2 + 1
    touch = _Fingers(page)

    def has_picked():  # what is still loading above may move the strip from under the finger
        page.locator("#timeline svg").scroll_into_view_if_needed()
        touch.move([(600,)], [(900,)])
        page.wait_for_timeout(200)
        return page.locator("#timeline [name=from]").input_value() == "10:00"

    until(has_picked)
    expect(page.locator("#timeline [name=to]")).to_have_value("15:00")
    expect(page.locator("#timeline output")).to_have_text("only from 10:00 to 15:00")

    def has_zoomed():
        page.locator("#timeline svg").scroll_into_view_if_needed()
        touch.move([(1000,), (1600,)], [(500,), (2100,)])
        page.wait_for_timeout(200)
        return _stretch(page)["to"] - _stretch(page)["from"] < 0.7 * END_S

    until(has_zoomed)
    SHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SHOTS / "timeline-phone.png")
    context.close()


class _Fingers:
    """Fingers on the strip, each from a time to a time."""

    def __init__(self, page):
        self._page = page
        self._cdp = page.context.new_cdp_session(page)

    def move(self, begins, ends):
        steps = 6
        paths = [
            (_at(self._page, begin[0]), _at(self._page, end[0]))
            for begin, end in zip(begins, ends, strict=True)
        ]
        for step in range(steps + 1):
            points = [
                {"x": a[0] + (b[0] - a[0]) * step / steps, "y": a[1], "id": number}
                for number, (a, b) in enumerate(paths)
            ]
            kind = "touchMove" if step else "touchStart"
            self._cdp.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
        self._cdp.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_can_be_read_in_the_light_and_in_the_dark(tab, served, scheme):
    page = _open(tab, f"{served[1]}?__theme={scheme}", scheme)
    colours = page.evaluate(
        """() => {
          const strip = document.querySelector('#timeline svg');
          const of = (kind, what) => getComputedStyle(strip.querySelector(kind))[what];
          return {ground: getComputedStyle(strip).backgroundColor, words: of('text', 'fill'),
            kept: of('.kept', 'fill'), change: of('.change', 'stroke'),
            fired: of('.fired', 'fill'), now: of('.now', 'stroke')};
        }"""
    )
    ground = _luminance(colours.pop("ground"))
    for name, colour in colours.items():
        low, high = sorted((_luminance(colour), ground))
        ratio = (high + 0.05) / (low + 0.05)
        assert ratio >= (4.5 if name == "words" else 2.5), (name, ratio)
    SHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SHOTS / f"timeline-{scheme}.png")


def _luminance(colour):
    """Relative luminance, as WCAG has it, of `rgb(r, g, b)`."""
    parts = [float(part) / 255 for part in colour.split("(")[1].rstrip(")").split(",")[:3]]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
