"""rtsp_server: a folder of videos in, an RTSP server on loopback out (aio-rtsp-toolkit).

Version 0.1.4 of the package now and then hands a packet to its sender twice: its reading thread
waits for room in a queue, and when the wait runs out in the moment in which room was found, it
puts the packet again. A client then sees one frame two times. Here every packet is put once.
"""

import asyncio
import logging
import threading
from contextlib import suppress
from typing import Any

HOST = "127.0.0.1"
_POLL_S = 0.05


def rtsp_server(folder: str, port: int) -> Any:
    """An `RtspServer` of `folder`, not yet started. ModuleNotFoundError without the package."""
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
    server.logger = logging.getLogger(__name__)  # its own one writes to stdout
    return server


def put_once(
    loop: asyncio.AbstractEventLoop,
    queue: "asyncio.Queue[Any]",
    item: object,
    stop: threading.Event,
) -> bool:
    """Waits in a thread until `item` is in the queue of `loop`. False once `stop` is set."""
    waiting = asyncio.run_coroutine_threadsafe(queue.put(item), loop)
    while not stop.is_set():
        with suppress(TimeoutError):
            waiting.result(timeout=_POLL_S)
            return True
    waiting.cancel()
    return False
