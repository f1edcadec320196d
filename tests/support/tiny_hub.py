"""A model hub on loopback: the few routes that fetching a model needs, and what it was asked."""

import hashlib
import http.server
import json
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit

COMMIT = "c" * 40


@dataclass
class TinyHub:
    """One model, `name`. `breaks_at`: so many bytes of a file are sent the first time it is asked
    for, and then the connection breaks. `damaged` are sent as other files than they are said to be.
    """

    name: str
    files: dict[str, bytes]
    breaks_at: int | None = None
    damaged: set[str] = field(default_factory=set)
    status: int = 200
    url: str = ""
    ranges: list[str] = field(default_factory=list)
    """Of requests that go on where one broke off."""
    fetched: list[str] = field(default_factory=list)

    def answer(self, path):
        """Status, headers, body."""
        if self.status != 200:
            return self.status, {}, b""
        for revision in ("main", COMMIT):
            if path == f"/api/models/{self.name}/revision/{revision}":
                return _json({"id": self.name, "sha": COMMIT, "siblings": []})
            if path == f"/api/models/{self.name}/tree/{revision}":
                return _json([_entry(*one) for one in self.files.items()])
        prefix = f"/{self.name}/resolve/{COMMIT}/"
        if path.startswith(prefix) and (name := path.removeprefix(prefix)) in self.files:
            headers = {
                "ETag": f'"{hashlib.sha256(self.files[name]).hexdigest()}"',
                "X-Repo-Commit": COMMIT,
                "Accept-Ranges": "bytes",
            }
            return 200, headers, self.files[name]
        about = "Revision" if f"/{self.name}/" in path else "Repo"
        return 404, {"X-Error-Code": f"{about}NotFound"}, b""


def _entry(path, content):
    """As a large file, whose checksum is its SHA-256."""
    lfs = {"oid": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 134}
    oid = hashlib.sha1(content).hexdigest()
    return {"type": "file", "path": path, "size": len(content), "oid": oid, "lfs": lfs}


def _json(document):
    return 200, {"Content-Type": "application/json"}, json.dumps(document).encode()


def _range(headers):
    """Where a request goes on; None: it wants all."""
    asked = headers.get("Range")
    return None if asked is None else int(asked.removeprefix("bytes=").partition("-")[0])


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: TinyHub

    def do_HEAD(self):
        status, headers, body = self.hub.answer(urlsplit(self.path).path)
        self._begin(status, headers, len(body))

    def do_GET(self):
        path, hub = urlsplit(self.path).path, self.hub
        status, headers, body = hub.answer(path)
        if "/resolve/" not in path or status != 200:
            self._begin(status, headers, len(body))
            self.wfile.write(body)
            return
        name, first = path.rpartition("/")[2], _range(self.headers)
        hub.fetched.append(name)
        body = bytes(len(body)) if name in hub.damaged else body
        if first is not None:
            hub.ranges.append(self.headers["Range"])
            headers["Content-Range"] = f"bytes {first}-{len(body) - 1}/{len(body)}"
            status, body = 206, body[first:]
        self._begin(status, headers, len(body))
        if hub.breaks_at is not None and len(body) > hub.breaks_at:
            body = body[: hub.breaks_at]
            hub.breaks_at, self.close_connection = None, True
        self.wfile.write(body)

    def _begin(self, status, headers, num_bytes):
        self.send_response(status)
        for pair in headers.items():
            self.send_header(*pair)
        self.send_header("Content-Length", str(num_bytes))
        self.end_headers()

    def log_message(self, *args):
        return


@contextmanager
def tiny_hub(name, files, **how):
    hub = TinyHub(name, files, **how)
    handler = type("Handler", (_Handler,), {"hub": hub})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        hub.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield hub
        finally:
            server.shutdown()
            thread.join()
