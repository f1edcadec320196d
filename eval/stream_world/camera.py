"""Camera: a seed in, an RTSP camera on loopback out that plays the stream of that seed live.

The server (eval/rtsp_server.py) plays files, so the endless stream is written into a growing one, a
minute ahead of the clock. Whoever connects sees the stream from its first second on, in real
time: the seconds of the script are those since the connection. The file grows by some 20 MB an
hour and is removed at the end.
"""

import asyncio
import time
from collections.abc import Callable
from tempfile import TemporaryDirectory

import av

from eval.rtsp_server import HOST, rtsp_server
from eval.stream_world.script import play
from eval.stream_world.video import add_h264, frames

LEAD_S = 60
"""How far the file is ahead: more than the server and its demuxer ever read ahead."""
KEYFRAME_S = 2
CONTAINER = {"live": "1", "cluster_time_limit": "1000", "flush_packets": "1"}
ENCODER = {"crf": "27", "preset": "veryfast", "tune": "zerolatency"}


async def play_live(
    seed: int, port: int, fps: int, side_px: int, tell: Callable[[str], None]
) -> None:
    """Play until interrupted; `tell` gets the address as soon as the camera answers.

    Raises ModuleNotFoundError without the RTSP server's package, OSError if the port is taken.
    """
    with TemporaryDirectory() as folder:
        server = rtsp_server(folder, port)
        path = f"{folder}/seed-{seed}.mkv"
        began_s = 0.0
        with av.open(path, "w", format="matroska", options=CONTAINER) as container:
            stream = add_h264(container, fps, side_px, ENCODER | {"g": str(KEYFRAME_S * fps)})
            for number, pixels in enumerate(frames(play(seed), fps, side_px)):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
                ahead = number - LEAD_S * fps
                if ahead == 0:
                    await server.start()
                    tell(f"rtsp://{HOST}:{port}/seed-{seed}.mkv")
                    began_s = time.monotonic()
                if ahead >= 0:
                    await asyncio.sleep(max(0.0, began_s + ahead / fps - time.monotonic()))
