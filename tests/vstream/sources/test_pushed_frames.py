"""PushedFrames: JPEGs in, frames in time out; whatever else is sent is refused by name."""

import io
import struct
import threading
import time
import zlib
from itertools import islice, pairwise
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from synthetic_video import number_in, picture

from encoders import FrameSampler
from vstream.errors import SourceError
from vstream.sources import (
    PrivacyMask,
    PushedFrames,
    PushOutcome,
    SourceConfig,
    SourceState,
    pushed_frames,
)
from vstream.sources.still_picture import MAX_BYTES

CONFIG = SourceConfig(queue_frames=4, stall_s=0.2)


def jpeg(pixels, **options):
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "JPEG", **({"quality": 95} | options))
    return out.getvalue()


def turned(pixels, orientation):
    """A JPEG that is shown as `pixels` once its EXIF orientation is respected."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = {1: pixels, 3: pixels[::-1, ::-1], 6: np.rot90(pixels), 8: np.rot90(pixels, -1)}
    return jpeg(np.ascontiguousarray(stored[orientation]), exif=exif.tobytes())


def png(width, height):
    def chunk(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IEND", b"")


def resized_header(data, width, height):
    """The same bytes with another size in the header."""
    at = next(i for marker in (b"\xff\xc0", b"\xff\xc2") if (i := data.find(marker)) >= 0)
    return data[: at + 5] + struct.pack(">HH", height, width) + data[at + 9 :]


PLAIN = jpeg(picture(5))
PROGRESSIVE = jpeg(picture(5), progressive=True)


def outcome_of(source, data, captured_at=None):
    """`accepted`, or the code of the error."""
    try:
        assert source.push(data, captured_at).accepted
    except SourceError as error:
        return error.code
    return "accepted"


def refused(source, data, captured_at=None):
    with pytest.raises(SourceError) as caught:
        source.push(data, captured_at)
    assert source.name in str(caught.value)
    return caught.value.code


def test_pushed_pictures_come_out_in_the_time_of_their_capture():
    began_at = time.time() - 100
    with PushedFrames("door", CONFIG) as source:
        for number in range(4):
            outcome = source.push(jpeg(picture(number)), began_at + 10.5 * number)
            assert outcome == PushOutcome(pytest.approx(10.5 * number, abs=1e-6), accepted=True)
        frames = list(islice(source, 4))
    assert [number_in(frame.pixels) for frame in frames] == [0, 1, 2, 3]
    assert [f.captured_at for f in frames] == [began_at + 10.5 * n for n in range(4)]
    assert frames[0].stream_s == 0
    assert source.is_live


@given(st.lists(st.none() | st.floats(-100, 25), max_size=12), st.booleans())
def test_time_rises_strictly_and_keeps_step_with_the_capture(offsets_s, resumed):
    data, now = jpeg(np.zeros((2, 2, 3), np.uint8)), time.time()
    with PushedFrames("door", SourceConfig(queue_frames=64), 1000.0 if resumed else 0.0) as source:
        codes = [
            outcome_of(source, data, None if offset_s is None else now + offset_s)
            for offset_s in offsets_s
        ]
        taken = codes.count("accepted")
        frames = list(islice(source, taken))
        counts = source.status.counts
    assert set(codes) <= {"accepted", "FRAME_OUT_OF_ORDER"}
    for earlier, later in pairwise(frames):
        assert later.stream_s > earlier.stream_s
        assert later.stream_s - earlier.stream_s == pytest.approx(
            later.captured_at - earlier.captured_at, abs=1e-5
        )
    assert counts.frames_refused == len(offsets_s) - taken
    if frames and resumed:
        assert frames[0].stream_s - 1000 == pytest.approx(frames[0].captured_at - now, abs=5)


def test_a_frame_that_is_old_repeated_or_from_the_future_is_refused():
    now = time.time()
    with PushedFrames("door", CONFIG) as source:
        assert source.push(PLAIN, now).accepted
        assert refused(source, PLAIN, now) == "FRAME_OUT_OF_ORDER"
        assert refused(source, PLAIN, now - 1) == "FRAME_OUT_OF_ORDER"
        assert refused(source, PLAIN, now + 60) == "FRAME_OUT_OF_ORDER"
        assert refused(source, PLAIN, float("nan")) == "FRAME_INVALID"
        assert source.status.last_error.code == "FRAME_INVALID"
        assert source.push(PLAIN, now + 20).accepted
        assert source.status.last_error is None
        assert source.push(PLAIN).stream_s > 20  # now is before the newest: right behind it
        assert source.status.counts.frames_refused == 3
        assert source.status.state is SourceState.RUNNING


@pytest.mark.parametrize("leap_s", [-3600.0, -20.0, 3600.0])
def test_frames_go_on_after_the_clock_was_set(leap_s, monkeypatch):
    clock = SimpleNamespace(set_s=1_700_000_000.0, passed_s=0.0)
    clock.time = lambda: clock.set_s + clock.passed_s
    clock.monotonic = lambda: clock.passed_s
    monkeypatch.setattr(pushed_frames, "time", clock)
    sampler = FrameSampler(1.0)
    with PushedFrames("door", CONFIG, wants=sampler.wants) as source:
        outcomes = []
        for second in range(8):
            if second == 4:
                clock.set_s += leap_s
                assert refused(source, b"no JPEG") == "FRAME_INVALID"
            outcomes.append(source.push(PLAIN))
            clock.passed_s += 1.0
        assert all(one.accepted for one in outcomes)
        steps = [later.stream_s - one.stream_s for one, later in pairwise(outcomes)]
        expected = [1.0] * 7
        expected[3] += max(0.0, leap_s)  # a gap, as after a machine has slept
        assert steps == pytest.approx(expected, abs=1e-3)


def test_what_the_sampling_rate_has_no_use_for_is_not_decoded():
    began_at = time.time() - 60
    sampler = FrameSampler(1.0)
    with PushedFrames("door", CONFIG, wants=sampler.wants) as source:
        outcomes = [source.push(PLAIN, began_at + n / 4) for n in range(8)]
        counts = source.status.counts
    assert [outcome.dropped for outcome in outcomes] == [None, *["rate"] * 3] * 2
    assert [outcome.accepted for outcome in outcomes] == [True, False, False, False] * 2
    assert (counts.frames_received, counts.frames_not_wanted) == (8, 6)


def test_a_slow_reader_gets_the_newest_and_the_client_hears_of_it():
    with PushedFrames("door", SourceConfig(queue_frames=1)) as source:
        outcomes = [source.push(jpeg(picture(number))) for number in range(3)]
        assert [outcome.dropped for outcome in outcomes] == [None, "busy", "busy"]
        assert all(outcome.accepted for outcome in outcomes)
        assert number_in(next(iter(source)).pixels) == 2
        assert source.status.counts.frames_stale == 2


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
@pytest.mark.parametrize("max_side", [None, 80])
def test_pictures_are_turned_as_exif_asks_and_scaled(orientation, max_side):
    shown = picture(0b1010011000111101)
    with PushedFrames("door", SourceConfig(max_side=max_side)) as source:
        source.push(turned(shown, orientation))
        frame = next(iter(source))
    assert frame.pixels.shape == ((96, 160, 3) if max_side is None else (48, 80, 3))
    assert number_in(frame.pixels) == 0b1010011000111101


def test_a_large_picture_is_scaled_like_a_decoded_one():
    shown = np.kron(picture(77), np.ones((20, 20, 1), np.uint8))  # 3200 x 1920
    with PushedFrames("door", SourceConfig(max_side=160)) as source:
        source.push(jpeg(shown))
        pixels = next(iter(source)).pixels
    assert pixels.shape == (96, 160, 3)
    assert np.abs(pixels.astype(int) - picture(77)).mean() < 2


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_other_colour_spaces_become_rgb(mode):
    out = io.BytesIO()
    Image.fromarray(picture(9)).convert(mode).save(out, "JPEG", quality=95)
    with PushedFrames("door", CONFIG) as source:
        source.push(out.getvalue())
        assert number_in(next(iter(source)).pixels) == 9


def test_a_mask_covers_pushed_frames():
    mask = PrivacyMask(polygons=[[(0, 0), (1, 0), (1, 1), (0, 1)]])
    with PushedFrames("door", CONFIG, mask=mask) as source:
        source.push(PLAIN)
        assert not next(iter(source)).pixels.any()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"hello",
        PLAIN[:200],
        PLAIN[: len(PLAIN) // 2],
        PROGRESSIVE[: len(PROGRESSIVE) // 2],
        PLAIN + b"\0" * MAX_BYTES,
        png(4, 4),
        png(60000, 60000),
        resized_header(PLAIN, 8000, 7000),
        resized_header(PLAIN, 65000, 65000),
        resized_header(PROGRESSIVE, 65000, 65000),
        resized_header(PLAIN, 0, 0),
        PROGRESSIVE[:-2] + b"\xff\xda\0\x08\x01\x01\0\0\x3f\0" * 100 + b"\xff\xd9",
    ],
    ids=[
        "nothing",
        "text",
        "header alone",
        "half",
        "half of a progressive",
        "too many bytes",
        "png",
        "huge png",
        "56 megapixels",
        "4 gigapixels",
        "4 progressive gigapixels",
        "no size",
        "a hundred scans",
    ],
)
def test_what_is_no_whole_jpeg_of_acceptable_size_is_refused_at_once(data):
    with PushedFrames("door", CONFIG) as source:
        begun_at = time.monotonic()
        assert refused(source, data) == "FRAME_INVALID"
        assert time.monotonic() - begun_at < 1
        assert source.status.counts.frames_corrupt == 1
        assert source.status.state is SourceState.CONNECTING
        assert source.push(PLAIN).stream_s == 0  # the client may go on


@given(st.data())
@settings(max_examples=300)
def test_damaged_bytes_never_do_worse_than_be_refused(data):
    spoilt = bytearray(data.draw(st.sampled_from([PLAIN, PROGRESSIVE, turned(picture(3), 6)])))
    for _ in range(data.draw(st.integers(1, 8))):
        spoilt[data.draw(st.integers(0, len(spoilt) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(spoilt)))
    with PushedFrames("door", SourceConfig(max_side=64)) as source:
        outcome = outcome_of(source, bytes(spoilt[:cut] if data.draw(st.booleans()) else spoilt))
        assert outcome in ("accepted", "FRAME_INVALID")
        if outcome == "accepted":
            pixels = next(iter(source)).pixels
            assert pixels.dtype == np.uint8
            assert max(pixels.shape) <= 64


def test_the_state_follows_the_client_and_ends_with_close():
    source = PushedFrames("door", CONFIG)
    assert source.status.state is SourceState.CONNECTING
    assert source.status.last_frame_age_s is None
    source.push(PLAIN)
    assert source.status.state is SourceState.RUNNING
    time.sleep(0.25)
    assert source.status.state is SourceState.STALLED
    assert source.status.last_frame_age_s > 0.2
    reader = threading.Thread(target=lambda: list(source))
    reader.start()
    source.close()
    reader.join(5)
    assert not reader.is_alive()
    assert source.status.state is SourceState.ENDED
    assert refused(source, PLAIN) == "STREAM_DISCONNECTED"


def test_many_threads_may_push():
    source = PushedFrames("door", SourceConfig(queue_frames=64))
    threads = [
        threading.Thread(target=lambda: [source.push(PLAIN) for _ in range(5)]) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    times_s = [frame.stream_s for frame in islice(source, 20)]
    assert times_s == sorted(set(times_s))
    assert source.status.counts.frames_received == 20
    source.close()
