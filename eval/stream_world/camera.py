"""Camera: an RTSP camera on loopback that plays a seed's stream live.

The server plays files, so the endless stream is written into a growing one, a minute ahead of the
clock. A client sees the stream from its first second on, in real time: the seconds of the script
count from its connection. The file grows by some 20 MB an hour and is removed at the end.

Version 0.1.4 of aio-rtsp-toolkit sometimes hands a packet to its sender twice: its reading thread
waits for room in a queue, and if the wait times out just as room is found, it puts the packet
again. A client then sees one frame twice. Here every packet is put once.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from tempfile import TemporaryDirectory
from typing import Any

import av

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
    """Play until interrupted; `tell` gets the address once the camera answers. Raises
    ModuleNotFoundError without the RTSP server's package, OSError if the port is taken.
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


HOST = "127.0.0.1"
_POLL_S = 0.05


def rtsp_server(folder: str, port: int) -> Any:
    """Return an `RtspServer` of `folder`, not started. ModuleNotFoundError without the package."""
    try:
        from aio_rtsp_toolkit import server_streaming
        from aio_rtsp_toolkit.server import RtspServer
    except ModuleNotFoundError as missing:
        raise ModuleNotFoundError(
            f"the camera needs {missing.name}; install it with: "
            "pip install 'aio-rtsp-toolkit[server]'"
        ) from missing
    server_streaming.RtspStreamingMixin._threadsafe_queue_put = staticmethod(put_once)
    server = RtspServer(folder, host=HOST, port=port)
    server.logger = logging.getLogger(__name__)  # its own logger writes to stdout
    return server


def put_once(
    loop: asyncio.AbstractEventLoop,
    queue: "asyncio.Queue[Any]",
    item: object,
    stop: threading.Event,
) -> bool:
    """Wait in a thread until `item` is in the queue of `loop`. Returns False once `stop` is set."""
    waiting = asyncio.run_coroutine_threadsafe(queue.put(item), loop)
    while not stop.is_set():
        with suppress(TimeoutError):
            waiting.result(timeout=_POLL_S)
            return True
    waiting.cancel()
    return False
