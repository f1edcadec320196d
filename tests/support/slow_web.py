"""Web servers on loopback that take their time: addresses out of what they send and when."""

import http.server
import threading
import time
from contextlib import contextmanager


@contextmanager
def serving(send):
    """`send(handler, stop)` answers each request, until its client leaves or the test ends."""
    stop = threading.Event()

    class Handler(http.server.BaseHTTPRequestHandler):
        def answer(self):
            try:
                send(self, stop)
            except (BrokenPipeError, ConnectionResetError):
                return

        do_GET = do_POST = answer

        def log_message(self, *args):
            return

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            stop.set()
            server.shutdown()
            thread.join()


def _promise(handler, content):
    """That all of it will come."""
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(content)))
    handler.end_headers()


@contextmanager
def evenly(content, *, seconds):
    """A file that comes evenly over so long; nothing that is called missing is there. The address
    names a user.
    """

    def send(handler, stop):
        if "missing" in handler.path:
            handler.send_error(404)
            return
        _promise(handler, content)
        for start in range(0, len(content), 1316):
            handler.wfile.write(content[start : start + 1316])
            if stop.wait(seconds * 1316 / len(content)):
                return

    with serving(send) as url:
        yield url.replace("://", "://bob:hunter2@")


def motion_jpeg(pictures, fps):
    """A camera that sends JPEGs one after the other, without times, as long as anyone looks."""

    def send(handler, stop):
        handler.send_response(200)
        handler.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        handler.end_headers()
        began, number = time.monotonic(), 0
        while not stop.wait(began + number / fps - time.monotonic()):
            jpeg = pictures[number % len(pictures)]
            head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
            handler.wfile.write(head.encode() + jpeg + b"\r\n")
            number += 1

    return serving(send)


def stalling(content, after):
    """A file of which the first `after` bytes come, and then nothing."""

    def send(handler, stop):
        _promise(handler, content)
        handler.wfile.write(content[:after])
        stop.wait()

    return serving(send)


def thinking(seconds, content):
    """An answer that begins to come after so long."""

    def send(handler, stop):
        _promise(handler, content)
        stop.wait(seconds)
        handler.wfile.write(content)

    return serving(send)
