"""A stretch as an MP4: each picture at its time, a minute at most, of what is kept alone."""

import io
from concurrent.futures import CancelledError
from contextlib import suppress

import av
import httpx
import numpy as np
import pytest
from fastapi import Response
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from processes import until
from service import running_service
from synthetic_video import number_in, picture

from app.client import ServiceClient, ServiceError
from app.server import picture_routes
from memory import MemoryReader
from vstream.device.asker import Asker
from vstream.service.clip import MOST_WITHIN, KeptPicture, pictures_within
from vstream.service.clip_video import clip_video

BEGAN = 1_700_000_000
TIMES_S = [0, 1, 2, 4, 7.5, 8.5, 20, 21, 22.25, 59, 61, 80]
"""Uneven, as those of a camera whose picture is mostly the same."""
MASK = [[0, 0], [0.5, 0], [0.5, 1], [0, 1]]
CLIP = "/v1/streams/door/clip.mp4"


@pytest.fixture(scope="module")
def service():
    with running_service() as running:
        spec = {"source": {"type": "push"}, "sampling": {"fps": 5, "dedup": 0}}
        for stream_id, masks in (("door", []), ("masked", [MASK])):
            running.post("/v1/streams", {"id": stream_id, "masks": masks, **spec})
            for number, time_s in enumerate(TIMES_S):
                push(running, stream_id, number, time_s)
        yield running


def push(service, stream_id, number, time_s):
    headers = {"X-Capture-Time": str(BEGAN + time_s)}
    path = f"/v1/streams/{stream_id}/frames"
    service.http.post(path, content=jpeg(number), headers=headers).raise_for_status()
    service.await_stream(stream_id, lambda told: told["memory"]["blocks"] > number)


def jpeg(number, **size):
    buffer = io.BytesIO()
    Image.fromarray(picture(number, **size)).save(buffer, "JPEG")
    return buffer.getvalue()


def shown(mp4):
    """The number and the time of each picture, and how long the whole lasts."""
    with av.open(io.BytesIO(mp4)) as video:
        frames = list(video.decode(video=0))
        told = [(number_in(one.to_ndarray(format="rgb24")), float(one.time)) for one in frames]
        return told, float(video.duration / av.time_base)


def numbers(mp4):
    return [number for number, _ in shown(mp4)[0]]


times = st.floats(0, 85, allow_nan=False) | st.sampled_from(TIMES_S)


@given(times, times)
@settings(max_examples=40)
def test_what_is_kept_of_a_stretch_is_shown_each_picture_at_its_time(service, one, other):
    from_s, to_s = sorted((one, other))
    kept = [(i, at_s) for i, at_s in enumerate(TIMES_S) if from_s <= at_s <= to_s]
    told = service.http.get(CLIP, params={"from_s": from_s, "to_s": to_s})
    if to_s - from_s > 61:
        assert (told.status_code, told.json()["error"]["code"]) == (422, "clip_too_long")
        return
    if not kept:
        assert (told.status_code, told.json()["error"]["code"]) == (404, "frame_not_found")
        return
    begin_s = kept[0][1]
    seen, lasts_s = shown(told.content)
    wanted = [(number, at_s - begin_s) for number, at_s in kept]
    assert seen == [(number, pytest.approx(at_s)) for number, at_s in wanted]
    assert lasts_s == pytest.approx(wanted[-1][1] + 1)
    assert float(told.headers["x-stream-time"]) == begin_s
    assert float(told.headers["x-capture-time"]) == BEGAN + begin_s
    listed = told.headers["x-picture-times"].split(",")
    assert list(map(float, listed)) == [at_s for _, at_s in wanted]


@pytest.mark.parametrize(
    ("bounds", "wanted"),
    [
        ({}, range(6, 12)),
        ({"from_s": 20}, range(6, 12)),
        ({"to_s": 61}, range(1, 11)),
        ({"from": BEGAN + 4, "to": BEGAN + 20}, range(3, 7)),
        ({"from": "2023-11-14T22:14:20Z"}, range(10, 12)),
    ],
)
def test_a_bound_that_is_not_given_is_a_minute_away(service, bounds, wanted):
    told = service.http.get(CLIP, params=bounds)
    assert told.headers["content-type"] == "video/mp4"
    assert told.headers["cache-control"] == "no-store"
    assert numbers(told.content) == list(wanted)


def test_it_is_named_after_stream_and_time(service):
    told = service.http.get(CLIP, params={"from_s": 7.5, "to_s": 9})
    wanted = 'inline; filename="door-2023-11-14T221327Z.mp4"'
    assert told.headers["content-disposition"] == wanted


def test_browsers_play_it_at_once(service):
    mp4 = service.http.get(CLIP, params={"from_s": 0, "to_s": 30}).content
    assert 0 < mp4.index(b"moov") < mp4.index(b"mdat"), "nothing has to be sought first"
    with av.open(io.BytesIO(mp4)) as video:
        [stream] = video.streams
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")


def test_players_may_ask_for_parts(service):
    params = {"from_s": 0, "to_s": 30}
    whole = service.http.get(CLIP, params=params)
    size, parts = len(whole.content), []
    assert whole.headers["accept-ranges"] == "bytes"
    for wanted in ("bytes=0-1", f"bytes=2-{size + 99}", "bytes=-7", f"bytes={size - 7}-"):
        told = service.http.get(CLIP, params=params, headers={"Range": wanted})
        assert told.status_code == 206
        begin, end = told.headers["content-range"].removesuffix(f"/{size}")[6:].split("-")
        assert told.content == whole.content[int(begin) : int(end) + 1]
        parts.append(told.content)
    assert parts[0] + parts[1] == whole.content
    assert parts[2] == parts[3] == whole.content[-7:]
    beyond = service.http.get(CLIP, params=params, headers={"Range": f"bytes={size}-"})
    assert (beyond.status_code, beyond.headers["content-range"]) == (416, f"bytes */{size}")
    for other in ("bytes=-", "bytes=0-1,3-4", "lines=1-2", "bytes=x-"):
        told = service.http.get(CLIP, params=params, headers={"Range": other})
        assert (told.status_code, told.content) == (200, whole.content)


def test_what_is_masked_is_black_in_a_clip(service):
    told = service.http.get("/v1/streams/masked/clip.mp4", params={"from_s": 0, "to_s": 30})
    with av.open(io.BytesIO(told.content)) as video:
        for frame in video.decode(video=0):
            seen = frame.to_ndarray(format="rgb24")
            middle = seen.shape[1] // 2
            assert seen[:, : middle - 8].max() < 24  # the codecs
            assert seen[:, middle + 8 :].max() > 60


def test_by_the_client_it_is_the_same(service):
    with ServiceClient(service.url) as client:
        clip = client.clip("door", 4, 21)
        assert numbers(clip.mp4) == [3, 4, 5, 6, 7]
        assert (clip.stream_s, clip.captured_at) == (4, BEGAN + 4)
        assert clip.times_s == [0, 3.5, 4.5, 16, 17]
        with pytest.raises(ServiceError) as refused:
            client.clip("door", 0, 80)
        assert refused.value.code == "clip_too_long"


def test_what_is_forgotten_is_in_no_clip(service):
    spec = {"source": {"type": "push"}, "sampling": {"fps": 5, "dedup": 0}}
    service.post("/v1/streams", {"id": "yard", **spec})
    for number in range(6):
        push(service, "yard", number, number)
    path = "/v1/streams/yard/clip.mp4"
    service.http.delete("/v1/streams/yard/memory?from_s=2&to_s=3").raise_for_status()
    left = numbers(service.http.get(path).content)
    assert not {2, 3} & set(left)
    assert {0, 5} <= set(left)
    service.delete("/v1/streams/yard?purge=true")
    assert service.http.get(path).status_code == 404


def test_who_goes_away_has_nothing_encoded(service, monkeypatch):
    ended = []

    def watched(pictures, asker) -> Response:
        until(lambda: asker.has_left)
        with suppress(CancelledError):
            return clip_video(pictures, asker)
        ended.append(len(pictures))
        raise CancelledError

    monkeypatch.setattr(picture_routes, "clip_video", watched)
    impatient = httpx.Timeout(30, read=0.3)
    with pytest.raises(httpx.ReadTimeout):
        httpx.get(service.url + CLIP, params={"from_s": 0, "to_s": 30}, timeout=impatient)
    until(lambda: ended == [9])


def test_it_ends_with_the_next_picture_once_its_asker_has_left():
    asker = Asker()

    class Leaving(KeptPicture):
        @property
        def jpeg(self):
            asker.leave()
            return jpeg(0)

    pictures = [Leaving(0, 0, b""), KeptPicture(1, 1, b"no JPEG"), KeptPicture(2, 2, jpeg(2))]
    with pytest.raises(CancelledError):
        clip_video(pictures, asker)


def test_of_very_many_pictures_some_are_shown_the_first_and_the_last_among_them():
    class Memory(MemoryReader):
        def __init__(self):
            """Of nothing but pictures."""

        def visible(self, at_s, from_s=None):
            return list(range(1000))

        def info(self, block_id):
            return KeptPicture(block_id / 20, block_id, b"")

        def thumbnails(self, ids):
            return [b"a picture" for _ in ids]

    some = [one.captured_at for one in pictures_within(Memory(), 0, 50)]
    assert (len(some), some[0], some[-1]) == (MOST_WITHIN, 0, 999)
    assert set(np.diff(some)) <= {3, 4}


@given(
    st.lists(st.floats(0, 60), min_size=1, max_size=8) | st.just([i / 2 for i in range(100)]),
    st.integers(1, 40),
    st.integers(1, 40),
)
@settings(max_examples=30)
def test_any_pictures_at_any_times_make_a_clip(times_s, width, height):
    picture = io.BytesIO()
    Image.new("RGB", (width, height), "red").save(picture, "JPEG")
    kept = [KeptPicture(at_s, at_s, picture.getvalue()) for at_s in sorted(times_s)]
    with av.open(io.BytesIO(clip_video(kept, Asker()))) as video:
        seen = [round(1000 * float(one.time)) for one in video.decode(video=0)]
    assert seen == sorted({round(1000 * (one.end_s - kept[0].end_s)) for one in kept})
