"""A browser's camera for minutes: the picture stays fresh, and nothing grows, not even on disk."""

import json
import platform
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import cycle, islice

import httpx
import numpy as np
import psutil
import pytest
from fake_camera import CHROMIUM, browser, write_y4m
from page_visitor import ShownThings, visit
from processes import Process, until
from usage import rss_slope_mb_per_min, usage_of

from app.sample import SAMPLE_VIDEO

FPS = 10
HISTORY_BYTES = "1MiB"
"""The budget of the camera's stream: full, and ageing, when the measurement begins."""


@dataclass(frozen=True)
class Bounds:
    """What is warmed up for how long, and what is asked of the minutes after."""

    warm_s: int
    most_age_s: float
    """Of 95 % of what is displayed."""
    least_fps: float
    most_slope_mb_per_min: float


BOUNDS = Bounds(60, 1.0, 5.0, 1.0)
SHORT_MINUTES, SHORT_BOUNDS = 5, Bounds(30, 2.0, 3.0, 12.0)
"""A short run is one of many tests on a machine that may be busy, and what comes and goes between
two trims of the heap counts in it.
"""
_RECORD_AGES = """() => {
  window.ages = [];
  setInterval(() => {
    const age = parseFloat(document.querySelector('#age').textContent.match(/[\\d.]+/) ?? 'NaN');
    window.ages.push(age);
  }, 250);
}"""
"""Of the newest frame, as the page shows it; NaN while it shows none."""

pytestmark = [
    pytest.mark.soak,
    pytest.mark.skipif(not CHROMIUM.exists(), reason="no chromium: apt-get install chromium"),
    pytest.mark.filterwarnings("ignore"),
]


@pytest.fixture(scope="module")
def camera(tmp_path_factory):
    """A quarter of a minute in which things come and go, in a loop."""
    things = ShownThings(SAMPLE_VIDEO, FPS, arrow=(15.0, 18.5), burger=(6.0, 10.5), ring=(27, 33))
    path = tmp_path_factory.mktemp("camera") / "camera.y4m"
    pictures = [
        picture
        for name in ("arrow", "burger", "ring")
        for picture in islice(cycle(things.pictures[name]), 5 * FPS)
    ]
    write_y4m(path, pictures, FPS)
    return path


@pytest.fixture
def temporary(tmp_path):
    """The only place for temporary files that the service knows of."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    return folder


@pytest.fixture
def service(tmp_path, temporary):
    config = tmp_path / "vstream.yaml"
    settings = {
        "threads": 1,
        "memory": {"host_bytes": HISTORY_BYTES},
        "service": {"max_streams": 1},  # who share it
    }
    config.write_text(json.dumps(settings))
    process = Process("serve", "--port", "0", "--config", config, TMPDIR=str(temporary))
    url = process.found(r"page at (\S+)").removesuffix("/ui")
    with httpx.Client(base_url=url, timeout=60) as http:
        until(lambda: http.get("/ready").status_code == 200)
        yield process, http
    assert process.terminate() == 0, "".join(process.err[-20:])


@pytest.mark.timeout(7200)
def test_a_camera_stays_fresh_and_nothing_grows(camera, service, temporary, load_minutes):
    process, http = service
    bounds = SHORT_BOUNDS if load_minutes < SHORT_MINUTES else BOUNDS
    with browser(camera) as chromium, visit(chromium, f"{http.base_url}/ui") as visitor:
        visitor.start_camera()
        page, watched = visitor.page, psutil.Process(process.pid)
        page.wait_for_timeout(1000 * bounds.warm_s)
        page.evaluate(_RECORD_AGES)
        before, files_before = _camera(http), _bytes_in(temporary)
        began, usage, holds = time.monotonic(), [], [_held_by(page)]
        while time.monotonic() < began + 60 * load_minutes:
            usage.append(usage_of(watched))
            page.wait_for_timeout(1000)
            if len(usage) % 60 == 0:
                holds.append(_held_by(page))
        passed_s = time.monotonic() - began
        after, files_after = _camera(http), _bytes_in(temporary)
        ages = np.array(page.evaluate("window.ages"), dtype=float)
        first = usage[: len(usage) // 2]
        most_threads = max(one.num_threads for one in first) + 1
        most_fds = max(one.num_fds for one in first) + 2
        # What requests that came at once had started ends again; what leaks does not.
        until(
            lambda: (
                (now := usage_of(watched)).num_threads <= most_threads and now.num_fds <= most_fds
            )
        )
    received = after["frames"]["received"] - before["frames"]["received"]
    slope = rss_slope_mb_per_min(usage)
    half = len(usage) // 2
    record = {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": f"{platform.machine()}, {psutil.cpu_count()} cores",
        "load_average": round(psutil.getloadavg()[0], 1),
        "minutes": load_minutes,
        "frames_per_s": round(received / passed_s, 2),
        "encoded_per_s": round(
            (after["frames"]["encoded"] - before["frames"]["encoded"]) / passed_s, 2
        ),
        "age_p50_s": round(float(np.nanpercentile(ages, 50)), 2),
        "age_p95_s": round(float(np.nanpercentile(ages, 95)), 2),
        "age_max_s": round(float(np.nanmax(ages)), 2),
        "rss_mb": round(usage[-1].rss_bytes / 1e6),
        "rss_slope_mb_per_min": round(slope, 2),
        "threads": [max(one.num_threads for one in part) for part in (usage[:half], usage[half:])],
        "fds": [max(one.num_fds for one in part) for part in (usage[:half], usage[half:])],
        "temporary_bytes": [files_before, files_after],
        "browser": {name: [held[name] for held in holds] for name in holds[0]},
    }
    print("\ncamera " + json.dumps(record))  # noqa: T201  what docs/performance.md records

    assert after["state"] == "running"
    assert not np.isnan(ages).any()
    assert len(ages) >= 2 * passed_s
    assert record["age_p95_s"] < bounds.most_age_s
    assert record["frames_per_s"] >= bounds.least_fps
    assert slope < bounds.most_slope_mb_per_min
    assert files_after <= files_before + 100_000


def _held_by(page):
    """What the browser keeps for the page, rubbish collected; and its process, with pictures."""
    session = page.context.new_cdp_session(page)
    session.send("HeapProfiler.collectGarbage")
    heap, counts = session.send("Runtime.getHeapUsage"), session.send("Memory.getDOMCounters")
    session.detach()
    return {
        "heap_mb": round(heap["usedSize"] / 1e6, 1),
        "nodes": counts["nodes"],
        "listeners": counts["jsEventListeners"],
        "rss_mb": round(
            max(
                process.memory_info().rss
                for process in psutil.Process().children(recursive=True)
                if "--type=renderer" in process.cmdline()
            )
            / 1e6
        ),
    }


def _camera(http):
    (camera,) = http.get("/v1/streams").json()["data"]
    return camera


def _bytes_in(folder):
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
