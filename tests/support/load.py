"""Load: live cameras and askers at once on a real `vstream serve`, and what became of it.

Each camera plays a made-up stream of its own with a patch of its own colour in a corner, so that
whoever looks at a picture knows which camera took it.
"""

import asyncio
import colorsys
import io
import json
import random
import time
from dataclasses import dataclass, field
from itertools import pairwise
from urllib.parse import parse_qs, urlsplit

import av
import httpx
import numpy as np
import psutil
from PIL import Image
from prometheus_client.parser import text_string_to_metric_families
from usage import usage_of

from eval.stream_world.script import write_script
from eval.stream_world.video import add_h264, frames

FPS = 5
SIDE_PX = 320
PATCH_PX = 32
WAIT_S = (5.0, 15.0)
QUESTIONS = (
    "what is there now?",
    "what colour is it?",
    "how many things are there?",
    "which place is this?",
    "has a cat appeared?",
    "where is the ball?",
    "what does the sign say?",
    "what happened in the last minute?",
    "did you see a car?",
    "what came first?",
)

_THINGS = ("an owl", "a dog", "a cat", "a car", "a ball")


def alerts_on(names, count):
    """As a configuration file declares them."""
    return [
        {
            "id": f"alert{number}",
            "stream_ids": [names[number % len(names)]],
            "condition": f"tell me when you see {_THINGS[number % len(_THINGS)]}",
        }
        for number in range(count)
    ]


def patch_colour(number, count):
    """RGB, as different from the others as can be."""
    return tuple(round(255 * part) for part in colorsys.hsv_to_rgb(number / count, 1, 1))


def write_camera_video(path, seed, colour, seconds):
    """H.264 with a key frame each second, as many cameras send it."""
    script = write_script(seed, seconds)
    with av.open(str(path), "w", format="mp4") as container:
        options = {"crf": "27", "preset": "veryfast", "tune": "zerolatency", "g": str(FPS)}
        stream = add_h264(container, FPS, SIDE_PX, options)
        for pixels in frames(script.moments, FPS, SIDE_PX):
            pixels[:PATCH_PX, :PATCH_PX] = colour
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode(None))


@dataclass
class Asked:
    """One question as its asker saw it."""

    stream_id: str
    text: str
    status: int
    ttft_s: float = 0.0
    total_s: float = 0.0
    answer: str = ""
    annotations: list = field(default_factory=list)
    evidence: dict = field(default_factory=dict)


class Load:
    """Asks while it looks at the server's process; then read what is here."""

    def __init__(self, url, pid, stream_ids, num_askers, seconds, seed=0):
        self._url = url
        self._process = psutil.Process(pid)
        self._stream_ids = stream_ids
        self._num_askers = num_askers
        self._seconds = seconds
        self._seed = seed
        self.asked = []
        self.usage = []

    def run(self):
        asyncio.run(self._run())
        return self

    async def _run(self):
        limits = httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(base_url=self._url, timeout=60, limits=limits) as client:
            end = time.monotonic() + self._seconds
            askers = [self._ask_on(client, number, end) for number in range(self._num_askers)]
            await asyncio.gather(self._look_on(end), *askers)

    async def _ask_on(self, client, number, end):
        rng = random.Random(f"{self._seed} {number}")
        await asyncio.sleep(rng.uniform(0, WAIT_S[0]))
        while time.monotonic() < end:
            stream_id = self._stream_ids[rng.randrange(len(self._stream_ids))]
            self.asked.append(await self._ask(client, stream_id, rng.choice(QUESTIONS)))
            await asyncio.sleep(rng.uniform(*WAIT_S))

    async def _ask(self, client, stream_id, text):
        parts = [
            {"type": "video_url", "video_url": {"url": f"stream://{stream_id}"}},
            {"type": "text", "text": text},
        ]
        document = {"stream": True, "messages": [{"role": "user", "content": parts}]}
        began = time.monotonic()
        async with client.stream("POST", "/v1/chat/completions", json=document) as response:
            asked = Asked(stream_id, text, response.status_code)
            async for line in response.aiter_lines():
                if not line.startswith("data: {"):
                    continue
                chunk = json.loads(line.removeprefix("data: "))
                assert "error" not in chunk, chunk
                for choice in chunk["choices"]:
                    delta = choice["delta"]
                    if delta.get("content"):
                        asked.ttft_s = asked.ttft_s or time.monotonic() - began
                        asked.answer += delta["content"]
                    asked.annotations += delta.get("annotations", [])
                if "vstream" in chunk:
                    (asked.evidence,) = chunk["vstream"]
        asked.total_s = time.monotonic() - began
        return asked

    async def _look_on(self, end):
        while time.monotonic() < end:
            self.usage.append(usage_of(self._process))
            await asyncio.sleep(1)

    def ttft_s(self, percent):
        return float(np.percentile([asked.ttft_s for asked in self.asked], percent))


def colour_of_picture(jpeg):
    """The colour of the patch in the corner."""
    picture = np.asarray(Image.open(io.BytesIO(jpeg)).convert("RGB"), dtype=float)
    side = max(2, PATCH_PX * picture.shape[0] // SIDE_PX // 2)
    return picture[2:side, 2:side].mean(axis=(0, 1))


def metric(text, name, **labels):
    """The value of one sample of Prometheus's text."""
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name == name and labels.items() <= sample.labels.items():
                return sample.value
    return None


def histogram_percentile(text, name, percent, **labels):
    """The upper bound of the bucket in which it lies."""
    buckets = []
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name == f"{name}_bucket" and labels.items() <= sample.labels.items():
                buckets.append((float(sample.labels["le"]), sample.value))
    buckets.sort()
    wanted = buckets[-1][1] * percent / 100
    for (_, below), (bound, count) in pairwise([(0.0, 0.0), *buckets]):
        if count >= wanted > below:
            return bound
    return buckets[0][0]


def stream_s_of(frame_url):
    return float(parse_qs(urlsplit(frame_url).query)["t_s"][0])
