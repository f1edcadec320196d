"""Cameras on loopback that can be broken: a video file in, an rtsp:// address out.

`RtspCamera` is a real RTSP server (aio-rtsp-toolkit) in its own process, looping one file, that can
be killed, frozen and brought back on the same port. `ScriptedRtspServer` speaks just enough RTSP to
refuse a client: wrong password, no such stream, no answer at all, nothing that can be shown.
"""

import asyncio
import base64
import re
import signal
import socket
import socketserver
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Literal, Self


def free_port() -> int:
    """A TCP port of 127.0.0.1 on which nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class RtspCamera:
    """One camera in one process. Use as a context manager."""

    def __init__(self, video: Path, clock_ahead_s: float = 0.0) -> None:
        """`clock_ahead_s`: how far the time in its RTCP reports is ahead of this machine's."""
        self._video = video
        self._clock_ahead_s = clock_ahead_s
        self._port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The endless stream: the file in a loop."""
        return f"rtsp://127.0.0.1:{self._port}/{self._video.name}?play_count=0"

    def start(self) -> None:
        """Serve, on the same port as before. Returns when the port answers."""
        command = [sys.executable, __file__, str(self._video.parent), str(self._port)]
        command.append(str(self._clock_ahead_s))
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 15
        while time.monotonic() < deadline:
            try:
                socket.create_connection(("127.0.0.1", self._port), timeout=1).close()
            except OSError:
                time.sleep(0.05)
            else:
                return
        self.kill()
        raise TimeoutError("the test camera did not start within 15 s")

    def kill(self) -> None:
        """Die without a goodbye, as in a power cut."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def stop(self) -> None:
        """Freeze: connections stay open and nothing comes."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def cont(self) -> None:
        """Go on after `stop`."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def restart(self) -> None:
        self.kill()
        self.start()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.kill()


Behaviour = Literal[
    "wrong_password", "not_found", "silent", "unknown_codec", "no_video", "nothing_to_play"
]


class ScriptedRtspServer:
    """Answers every DESCRIBE in one way and counts them. Use as a context manager."""

    def __init__(self, behaviour: Behaviour) -> None:
        self.behaviour = behaviour
        self.passwords_seen: list[str] = []
        scripted = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                with suppress(ConnectionError):  # a client that has heard enough
                    while request := _read_request(self.rfile.readline):
                        answer = scripted.answer(request)
                        if answer is None:
                            self.rfile.read()  # until the client gives up
                            return
                        self.wfile.write(answer.encode())

        socketserver.ThreadingTCPServer.allow_reuse_address = True
        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    def answer(self, request: str) -> str | None:
        method, sequence = request.split()[0], re.search(r"(?i)cseq: *(\d+)", request)
        head = f"CSeq: {sequence[1] if sequence else 0}\r\n"
        if credentials := re.search(r"(?i)authorization: *basic (\S+)", request):
            self.passwords_seen.append(base64.b64decode(credentials[1]).decode())
        if self.behaviour == "silent":
            return None
        if method == "OPTIONS":
            return f"RTSP/1.0 200 OK\r\n{head}Public: OPTIONS, DESCRIBE, SETUP, PLAY\r\n\r\n"
        if self.behaviour == "not_found":
            return f"RTSP/1.0 404 Not Found\r\n{head}\r\n"
        if self.behaviour in _TRACKS:
            return _serving(method, head, _TRACKS[self.behaviour])
        challenge = 'WWW-Authenticate: Basic realm="camera"\r\n'
        return f"RTSP/1.0 401 Unauthorized\r\n{head}{challenge}\r\n"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


_TRACKS = {
    "unknown_codec": "m=video 0 RTP/AVP 96\r\na=rtpmap:96 X-UNHEARD-OF/90000\r\n",
    "no_video": "m=audio 0 RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\n",
    "nothing_to_play": "m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n",
}


def _serving(method: str, head: str, track: str) -> str:
    """Goes along with everything, and sends no media."""
    if method == "DESCRIBE":
        sdp = f"v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n{track}a=control:track\r\n"
        kind = f"Content-Type: application/sdp\r\nContent-Length: {len(sdp)}\r\n"
        return f"RTSP/1.0 200 OK\r\n{head}{kind}\r\n{sdp}"
    transport = "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\nSession: 1\r\n"
    return f"RTSP/1.0 200 OK\r\n{head}{transport}\r\n"


def _read_request(readline) -> str:
    lines = []
    while (line := readline().decode("latin-1")) not in ("", "\r\n"):
        lines.append(line)
    return "".join(lines)


def _serve(directory: str, port: int, clock_ahead_s: float) -> None:
    from eval.stream_world.camera import rtsp_server  # only in the camera's own process

    true_time = time.time
    time.time = lambda: true_time() + clock_ahead_s
    asyncio.run(rtsp_server(directory, port).serve_forever())


if __name__ == "__main__":
    _serve(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]))
