"""Videos and pictures with bytes changed, cut or moved give frames or a plain refusal, in time."""

import io
import random
import time
from collections import Counter

import pytest
from PIL import Image
from synthetic_video import picture, write_video

from encoders import FrameSampler
from vstream.errors import SourceError
from vstream.sources import SourceConfig
from vstream.sources.source_process import open_apart
from vstream.sources.still_picture import StillPicture

CONFIG = SourceConfig(confined=True, max_side=64, max_pixels=1 << 20)
VIDEOS = [
    *[("mp4", "libx264"), ("ts", "libx264"), ("h264", "libx264"), ("mov", "mpeg4")],
    *[("avi", "mjpeg"), ("mpg", "mpeg2video"), ("webm", "libvpx"), ("flv", "flv")],
]
PICTURES = ["JPEG", "PNG", "WEBP"]
ODD = [b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\x80\0\0\0", b"\0\0\0\1"]
REFUSALS = {"FILE_NOT_VIDEO", "FILE_NOT_READABLE", "FILE_EMPTY", "FILE_CORRUPT"}
REFUSALS |= {"SOURCE_TOO_LARGE", "FRAME_INVALID", "STREAM_CODEC_UNSUPPORTED"}
CRASHED = "DECODER_FAILED"
"""FFmpeg's own fault, which costs this source alone."""
AT_MOST_S = 30.0


@pytest.fixture(scope="module")
def seeds(tmp_path_factory):
    """Bytes by how their file is called; a picture's has its format for a suffix."""
    folder, found = tmp_path_factory.mktemp("seeds"), {}
    for suffix, codec in VIDEOS:
        path = write_video(folder / f"clip.{suffix}", num_frames=6, size=(64, 48), codec=codec)
        found[suffix] = path.read_bytes()
    for kind in PICTURES:
        file = io.BytesIO()
        Image.fromarray(picture(1, 64, 48)).save(file, kind)
        found[kind] = file.getvalue()
    return found


def mutated(rng, seed, other):
    """`seed` with something done to it up to four times, mostly to its head."""
    data = bytearray(seed)
    for _ in range(rng.randint(1, 4)):
        end = len(data) if rng.random() < 0.5 else min(len(data), 400)
        at = rng.randrange(max(1, end))
        piece = slice(at, at + rng.randint(1, 64))
        how = rng.randrange(7)
        if how == 0:
            for _ in range(rng.randint(1, 30)):
                place = rng.randrange(max(1, len(data) - 1))
                data[place : place + 1] = rng.randbytes(1)
        elif how == 1:
            data[at : at + 4] = rng.choice(ODD)
        elif how == 2:
            del data[piece]
        elif how == 3:
            data[at:at] = data[piece] * rng.randint(1, 20)
        elif how == 4:
            data[piece] = bytes(len(data[piece]))
        elif how == 5:
            data[at:at] = other[: rng.randrange(len(other))]
        else:
            del data[max(at, 16) :]
    return bytes(data)


def outcome(kind, data, path):
    """`frames`, or the code of the refusal. What is neither is raised."""
    try:
        if kind in PICTURES:
            StillPicture(data, "door", CONFIG.max_pixels, formats=tuple(PICTURES)).pixels(64)
        else:
            path.write_bytes(data)
            with open_apart(str(path), CONFIG, wants=FrameSampler(20).wants) as source:
                list(source)
    except SourceError as error:
        return error.code
    return "frames"


def test_mutations_never_do_worse_than_be_refused(seeds, tmp_path, request):
    found, slowest_s, crashes = Counter(), 0.0, []
    for number in range(request.config.getoption("--mutations")):
        rng = random.Random(number)
        kind = rng.choice(list(seeds))
        data = mutated(rng, seeds[kind], seeds[rng.choice(list(seeds))])
        begun_at = time.monotonic()
        told = outcome(kind, data, tmp_path / f"clip.{kind}")
        took_s = time.monotonic() - begun_at
        assert told in {"frames", CRASHED} | REFUSALS, (number, kind, told)
        assert took_s < AT_MOST_S, (number, kind, took_s)
        if told == CRASHED:
            crashes.append((number, kind))
        found[told] += 1
        slowest_s = max(slowest_s, took_s)
    print(dict(found), f"slowest {slowest_s:.2f} s", "crashes", crashes)  # noqa: T201  for a long run
    assert found["frames"]  # else nothing much was decoded
    assert found["FILE_NOT_VIDEO"]
