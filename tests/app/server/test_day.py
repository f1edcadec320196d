"""A day of frames, pushed as fast as they are taken: nothing grows, slows down or is mixed up."""

import io
import json
import platform
import time
from datetime import UTC, datetime

import httpx
import numpy as np
import psutil
import pytest
from load import PATCH_PX, QUESTIONS, SIDE_PX, alerts_on, colour_of_picture, patch_colour
from PIL import Image
from processes import Process, until
from usage import assert_level, in_halves, usage_of

from eval.stream_world.script import write_script
from eval.stream_world.video import frames

pytestmark = [pytest.mark.soak, pytest.mark.timeout(6 * 3600)]
STREAMS = 8
ALERTS = 10
ASK_EVERY_S = 120
"""Of stream time, in each stream; every look at the process is as far from the next."""
WARM_PART = 0.1
BEGAN_AT = time.time() - 86400
SCRIPT_S = 300
TIMELESS = [one for one in QUESTIONS if "last" not in one]
"""The clock of the questions is not that of the pictures."""


@pytest.fixture
def http(tmp_path):
    """A client of a service of its own, with its process."""
    streams = [
        {"id": f"camera{number}", "source": {"type": "push"}, "memory": {"max_bytes": "2MiB"}}
        for number in range(STREAMS)
    ]
    alerts = alerts_on([one["id"] for one in streams], ALERTS)
    config = tmp_path / "vstream.yaml"
    config.write_text(json.dumps({"streams": streams, "alerts": alerts, "threads": 1}))
    process = Process("serve", "--port", "0", "--config", config, warm=False)
    try:
        with httpx.Client(base_url=process.found(r"listening on (\S+)"), timeout=60) as client:
            until(lambda: client.get("/ready").status_code == 200)
            client.process = psutil.Process(process.pid)
            yield client
    finally:
        assert process.terminate() == 0, "".join(process.err[-20:])


def jpegs(number):
    """The pictures of one stream, one for each second; a patch says which stream it is."""
    for pixels in frames(write_script(100 + number, SCRIPT_S).moments, 1, SIDE_PX):
        pixels[:PATCH_PX, :PATCH_PX] = patch_colour(number, STREAMS)
        picture = io.BytesIO()
        Image.fromarray(pixels).save(picture, "JPEG", quality=85)
        yield picture.getvalue()


def push(http, number, second, jpeg):
    """Return whether an earlier frame was dropped for this one."""
    headers = {"Content-Type": "image/jpeg", "X-Capture-Time": str(BEGAN_AT + second)}
    told = http.post(f"/v1/streams/camera{number}/frames", content=jpeg, headers=headers)
    assert told.is_success, told.text
    return told.json()["dropped"] == "busy"


def ask(http, number, text):
    """Return milliseconds to the first token; the answer must be of this stream alone."""
    stream_id = f"camera{number}"
    parts = [
        {"type": "video_url", "video_url": {"url": f"stream://{stream_id}"}},
        {"type": "text", "text": text},
    ]
    told = http.post(
        "/v1/chat/completions", json={"messages": [{"role": "user", "content": parts}]}
    )
    assert told.is_success, told.text
    answer = told.json()
    cited = answer["choices"][0]["message"]["annotations"]
    assert {one["stream_id"] for one in cited} == {stream_id}
    picture = http.get(cited[0]["frame_url"])
    if (
        picture.is_success
        and abs(float(picture.headers["x-stream-time"]) - cited[0]["end_s"]) < 0.01
    ):
        colour = patch_colour(number, STREAMS)
        assert np.abs(colour_of_picture(picture.content) - colour).max() < 60, stream_id
    return answer["vstream"][0]["ttft_ms"]


def test_a_day_of_frames_leaves_nothing_behind(http, load_hours):
    shown = [list(jpegs(number)) for number in range(STREAMS)]
    seconds, usage, ttft_ms, dropped = int(3600 * load_hours / STREAMS), [], [], 0
    pause_s = 0.03
    for second in range(1, seconds + 1):
        for number in range(STREAMS):
            is_busy = push(http, number, second, shown[number][second % SCRIPT_S])
            dropped += is_busy
            pause_s *= 1.2 if is_busy else 0.995  # as fast as it can be, with few dropped
            time.sleep(pause_s)
        if second % ASK_EVERY_S == 0:
            text = TIMELESS[second // ASK_EVERY_S % len(TIMELESS)]
            ttft_ms.append([ask(http, number, text) for number in range(STREAMS)])
            usage.append(usage_of(http.process))
    ttft_ms, usage = (one[int(WARM_PART * len(one)) :] for one in (ttft_ms, usage))
    halves = in_halves(usage, np.ravel(ttft_ms))
    streams = [http.get(f"/v1/streams/camera{number}").json() for number in range(STREAMS)]
    record = {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": f"{platform.machine()}, {psutil.cpu_count()} cores",
        "hours": load_hours,
        "frames": sum(one["frames"]["sampled"] for one in streams),
        "dropped": dropped,
        "questions": STREAMS * len(ttft_ms),
        **halves,
        "alerts_fired": len(http.get("/v1/firings").json()["data"]),
    }
    print("\nday " + json.dumps(record))  # noqa: T201  what docs/performance.md records
    assert {one["state"] for one in streams} == {"running"}
    assert_level(halves)
