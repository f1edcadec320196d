"""A page of elsewhere in the browser of an operator who is logged in, and of who needs no key."""

import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from fake_camera import CHROMIUM, browser
from page_visitor import PageVisitor
from service import running_service
from tls_proxy import tls_proxy

from app.sample import SAMPLE_VIDEO

KEY = "correct-horse-battery"
HOST = "vstream.example.org"
SIBLING, STRANGER = "evil.example.org", "evil.example.net"
"""To a browser the first is of the same site as the service, so that cookies travel."""
GRADIO = "/ui/gradio_api"

pytestmark = [
    pytest.mark.skipif(not CHROMIUM.exists(), reason="no chromium: apt-get install chromium"),
    pytest.mark.filterwarnings("ignore"),
]

READ = """async ([url]) => {
    const answer = await fetch(url, {credentials: 'include'}).catch(() => null);
    return answer === null ? '' : await answer.text();
}"""
"""Returns what the page may read of the answer."""
SEND = """async ([url, body, headers, mode]) => {
    const wish = {method: 'POST', credentials: 'include', headers, body, mode};
    return await fetch(url, wish).then(answer => `${answer.status}`, () => 'refused');
}"""
UPLOAD = """async ([url]) => {
    const body = new FormData();
    body.append('files', new Blob(['planted']), 'planted.mp4');
    await fetch(url, {method: 'POST', credentials: 'include', mode: 'no-cors', body});
}"""
FORM = """([url, body]) => {
    const form = document.createElement('form');
    Object.assign(form, {method: 'POST', action: url, enctype: 'text/plain'});
    const field = document.createElement('input');
    Object.assign(field, {name: body.slice(0, -2) + ', "x": "', value: '"}'});
    form.append(field);
    document.body.append(form);
    form.submit();
}"""
SOCKET = """([url]) => new Promise(done => {
    const socket = new WebSocket(url);
    socket.onopen = () => { socket.send(new Uint8Array([255, 216])); };
    socket.onmessage = event => done('told ' + event.data);
    socket.onclose = () => done('closed');
})"""
PUSH = """async ([url]) => {
    await fetch(url, {method: 'POST', mode: 'no-cors', body: new Blob(['x'])});
}"""


class _Empty(BaseHTTPRequestHandler):
    """A page that does nothing yet."""

    def do_GET(self):
        body = b"<!doctype html><title>evil</title>"
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *told):
        """Nothing."""


@contextmanager
def served_elsewhere():
    """The port of another web server of this machine."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Empty)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def elsewhere():
    with served_elsewhere() as port:
        yield port


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    uploads = tmp_path_factory.mktemp("uploads")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", str(uploads))
        with running_service(key=KEY, page=True, allow_files=[SAMPLE_VIDEO]) as running:
            running.uploads = uploads
            yield running


@pytest.fixture(scope="module")
def chromium(service, elsewhere, tmp_path_factory):
    """Knows the service and who attacks it by names, and reaches both over TLS."""
    port = int(service.url.rsplit(":", 1)[1])
    with (
        tls_proxy(port, tmp_path_factory.mktemp("own")) as own,
        tls_proxy(elsewhere, tmp_path_factory.mktemp("foreign")) as foreign,
    ):
        rules = [f"MAP {HOST} 127.0.0.1:{own}"]
        rules += [f"MAP {name} 127.0.0.1:{foreign}" for name in (SIBLING, STRANGER)]
        flags = (f"--host-resolver-rules={','.join(rules)}", "--ignore-certificate-errors")
        with browser(more_flags=flags) as running:
            yield running


@pytest.fixture
def profile(chromium):
    """One person's browser, in which they may have several pages."""
    context = chromium.new_context()
    yield context
    context.close()


@pytest.fixture
def operator(profile):
    """Is logged in, over TLS."""
    visitor = PageVisitor(profile.new_page())
    visitor.open(f"https://{HOST}/ui")
    page = visitor.page
    page.wait_for_selector("text=The password is the service's key", timeout=60_000)
    for number, text in enumerate(("me", KEY)):
        page.locator("input").nth(number).fill(text)
    page.get_by_role("button", name="Login").click()
    visitor.await_page()
    return visitor


@pytest.mark.parametrize("attacker", [STRANGER, SIBLING])
def test_a_foreign_page_can_use_nothing_of_an_operator_who_is_logged_in(
    service, profile, operator, attacker
):
    """And the operator's own page works, behind the proxy."""
    target = f"https://{HOST}"
    config = operator.page.evaluate(READ, [f"{target}/ui/config"])
    (add_sample,) = (
        one["id"]
        for one in operator.page.evaluate("text => JSON.parse(text).dependencies", config)
        if one["api_name"] == "add_sample"
    )
    wish = f'{{"data": [], "fn_index": {add_sample}, "session_hash": "evil", "trigger_id": null}}'
    page = profile.new_page()
    page.goto(f"https://{attacker}/")
    assert page.evaluate(READ, [f"{target}/ui/config"]) == ""
    join, json = f"{target}{GRADIO}/queue/join", {"Content-Type": "application/json"}
    assert page.evaluate(SEND, [join, wish, json, "cors"]) == "refused"
    page.evaluate(SEND, [join, wish, {"Content-Type": "text/plain"}, "no-cors"])
    assert page.evaluate(READ, [f"{target}{GRADIO}/queue/data?session_hash=evil"]) == ""
    page.evaluate(UPLOAD, [f"{target}{GRADIO}/upload"])
    assert list(service.uploads.rglob("planted.mp4")) == []
    socket = f"wss://{HOST}/v1/streams/door/frames"
    assert page.evaluate(SOCKET, [socket]) == "closed"
    with page.expect_navigation() as navigated:
        page.evaluate(FORM, [join, wish])
    assert navigated.value.status == 403
    assert service.get("/v1/streams")["data"] == []

    operator.page.bring_to_front()
    operator.page.get_by_role("tab", name="Video").click()
    operator.page.locator("#add-sample").click()
    operator.await_stream("sample")
    assert [one["id"] for one in service.get("/v1/streams")["data"]] == ["sample"]
    service.delete("/v1/streams/sample?purge=true")


def test_a_page_of_another_port_can_use_nothing_of_a_service_without_a_key(
    unlocked, elsewhere, profile
):
    page = profile.new_page()
    port = unlocked.url.rsplit(":", 1)[1]
    before = unlocked.get("/v1/streams/a")
    for own in ("127.0.0.1", "localhost"):
        page.goto(f"http://{own}:{elsewhere}/")
        for name in ("127.0.0.1", "localhost"):
            frames = f"{name}:{port}/v1/streams/a/frames"
            assert page.evaluate(SOCKET, [f"ws://{frames}"]) == "closed"
            assert page.evaluate(READ, [f"http://{name}:{port}/v1/streams"]) == ""
            with page.expect_response(f"http://{frames}") as answered:
                page.evaluate(PUSH, [f"http://{frames}"])
            assert answered.value.status == 403
    assert unlocked.get("/v1/streams/a")["memory"] == before["memory"]
