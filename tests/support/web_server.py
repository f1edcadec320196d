"""A web server on loopback that sends one content at one pace: bytes in, an address out."""

import http.server
import threading
import time
from contextlib import contextmanager


@contextmanager
def serve(content, *, seconds):
    """The address of a server that sends `content` evenly over so long, then hangs up."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            if "missing" in self.path:
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            try:
                for start in range(0, len(content), 1316):
                    self.wfile.write(content[start : start + 1316])
                    time.sleep(seconds * 1316 / len(content))
            except (BrokenPipeError, ConnectionResetError):
                return

        def log_message(self, *args):
            return

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield f"http://bob:hunter2@127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()
