"""Small videos whose every frame carries its own number: a path in, an encoded file out.

The number is drawn as 16 black or white bars across the top quarter of the picture, so that it
survives compression and scaling and a test can read which frame it was given.
"""

import struct
from collections.abc import Collection
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.frame import PictureType

NUM_BITS = 16


def picture(number: int, width: int = 160, height: int = 96) -> np.ndarray:
    """The picture of frame `number`: its bits above, a moving light square on grey below."""
    pixels = np.full((height, width, 3), 90, dtype=np.uint8)
    edges = np.linspace(0, width, NUM_BITS + 1).astype(int)
    for bit in range(NUM_BITS):
        lit = number >> (NUM_BITS - 1 - bit) & 1
        pixels[: height // 4, edges[bit] : edges[bit + 1]] = 255 if lit else 0
    left = (number * 4) % (width - 16)
    pixels[height // 2 : height // 2 + 16, left : left + 16] = (230, 200, 40)
    return pixels


def number_in(pixels: np.ndarray) -> int:
    """The number that `picture` drew, read from a decoded (and possibly scaled) picture."""
    height, width, _ = pixels.shape
    row = pixels[height // 8].astype(float).mean(axis=1)
    centres = ((np.arange(NUM_BITS) + 0.5) * width / NUM_BITS).astype(int)
    return int("".join("1" if row[centre] > 128 else "0" for centre in centres), 2)


def write_video(
    path: Path,
    num_frames: int = 30,
    fps: int = 10,
    size: tuple[int, int] = (160, 96),
    codec: str = "libx264",
    b_frames: int = 0,
    creation_time: str | None = None,
    key_frames: Collection[int] | None = None,
    options: dict[str, str] | None = None,
) -> Path:
    """Encode frames 0 to num_frames - 1 at a constant `fps`, one key frame a second.

    `key_frames` says which frames are key frames instead. `options` are the encoder's.
    """
    width, height = size
    with av.open(str(path), "w") as container:
        if creation_time is not None:
            container.metadata["creation_time"] = creation_time
        stream = container.add_stream(
            codec, rate=fps, options=_encoder_options(codec, b_frames) | (options or {})
        )
        stream.width, stream.height = width, height
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        stream.codec_context.gop_size = fps if key_frames is None else num_frames
        stream.codec_context.thread_count = 1
        for number in range(num_frames):
            frame = av.VideoFrame.from_ndarray(picture(number, width, height), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, fps)
            if key_frames is not None and number in key_frames:
                frame.pict_type = PictureType.I
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def lay_on_its_side(path: Path) -> None:
    """Write a clockwise quarter turn into the display matrix of an mp4."""
    content = bytearray(path.read_bytes())
    at = content.index(b"tkhd") + 44
    content[at : at + 36] = struct.pack(">9i", 0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30)
    path.write_bytes(content)


def _encoder_options(codec: str, b_frames: int) -> dict[str, str]:
    if codec == "libx265":
        return {
            "preset": "ultrafast",
            "forced-idr": "1",
            "x265-params": f"bframes={b_frames}:log-level=none",
        }
    if codec in ("mjpeg", "ffv1"):
        return {}
    if codec == "libsvtav1":
        return {"preset": "12", "svtav1-params": "lp=1"}
    return {"preset": "veryfast", "bf": str(b_frames), "crf": "18", "forced-idr": "1"}
