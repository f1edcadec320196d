"""A model hub on loopback: one checkpoint under one name, its weights held back until let go."""

import hashlib
import http.server
import json
import threading
from contextlib import contextmanager
from pathlib import Path

_COMMIT = "c" * 40


class FakeHub:
    """`let_go` has one more file of weights sent."""

    def __init__(self, name, directory):
        self.name = name
        self.files = {path.name: path.read_bytes() for path in Path(directory).iterdir()}
        self.weights = [file for file in self.files if file.endswith(".safetensors")]
        self.asked_for_weights = threading.Event()
        self._may_go = threading.Semaphore(0)

    def let_go(self, count=1):
        self._may_go.release(count)

    def hold_back(self, file):
        if file in self.weights:
            self.asked_for_weights.set()
            self._may_go.acquire()

    def document(self, path):
        """What the hub tells of the model under this path of its API; None: it knows nothing."""
        if path in (f"/api/models/{self.name}", f"/api/models/{self.name}/revision/main"):
            return {"id": self.name, "sha": _COMMIT, "siblings": []}
        if path == f"/api/models/{self.name}/tree/{_COMMIT}":
            return [
                {"type": "file", "path": file, "size": len(content), "oid": _etag(content)}
                for file, content in self.files.items()
            ]
        return None


@contextmanager
def fake_hub(name, directory, monkeypatch, cache):
    """Serve `directory` as the model `name`; processes begun from now on ask here, and keep what
    they got in `cache`."""
    hub = FakeHub(name, directory)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as server:
        server.hub = hub
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_address[1]}")
        monkeypatch.setenv("HF_HUB_OFFLINE", "0")
        monkeypatch.setenv("HF_HUB_CACHE", str(cache))
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        try:
            yield hub
        finally:
            hub.let_go(len(hub.weights))
            server.shutdown()
            thread.join()


class _Handler(http.server.BaseHTTPRequestHandler):
    def do_HEAD(self):
        self._answer(with_body=False)

    def do_GET(self):
        self._answer(with_body=True)

    def log_message(self, *args):
        return

    def _answer(self, with_body):
        hub, path = self.server.hub, self.path.split("?")[0]
        told = hub.document(path)
        file = path.removeprefix(f"/{hub.name}/resolve/{_COMMIT}/")
        if told is not None:
            self._send(200, json.dumps(told).encode(), {"Content-Type": "application/json"})
        elif file in hub.files:
            content = hub.files[file]
            if with_body:
                hub.hold_back(file)
            headers = {"ETag": f'"{_etag(content)}"', "X-Repo-Commit": _COMMIT}
            self._send(200, content, headers, with_body)
        else:
            self._send(404, b"{}", {"X-Error-Code": "RepoNotFound"}, with_body)

    def _send(self, status, content, headers, with_body=True):
        try:
            self.send_response(status)
            for key, value in {**headers, "Content-Length": str(len(content))}.items():
                self.send_header(key, value)
            self.end_headers()
            if with_body:
                self.wfile.write(content)
        except (BrokenPipeError, ConnectionResetError):
            return


def _etag(content):
    return hashlib.sha1(content).hexdigest()
