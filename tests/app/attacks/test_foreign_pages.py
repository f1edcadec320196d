"""What a web page of elsewhere may do with a service: nothing, even while an operator has it open.

tests/app/attacks/test_foreign_pages_in_a_browser.py does it with a real browser.
"""

import httpx
import pytest
from processes import Process
from rtsp_camera import free_port
from service import running_service
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

MASTER = "correct-horse-battery"
HOST = "vstream.example.org"
LISTED = "https://panel.example.org"
GRADIO = "/ui/gradio_api"

pytestmark = pytest.mark.filterwarnings("ignore")  # of Gradio's


@pytest.fixture(scope="module")
def paged():
    """A service with a key and its page, which one other page may call."""
    with running_service(key=MASTER, page=True, allow_origins=[LISTED]) as service:
        service.post("/v1/streams", {"id": "door", "source": {"type": "push"}})
        yield service


@pytest.fixture(scope="module")
def cookies(paged):
    """Of an operator who has entered the page."""
    told = httpx.post(f"{paged.url}/ui/login", data={"username": "me", "password": MASTER})
    assert told.status_code == 200
    return told.headers.get_list("set-cookie")


@pytest.fixture
def operator(paged, cookies):
    """Sends what the operator's browser would; to a service behind a proxy that ends TLS."""
    sent = "; ".join(one.split(";")[0] for one in cookies)
    headers = {"Cookie": sent, "Host": HOST}
    with httpx.Client(base_url=paged.url, headers=headers, timeout=30) as client:
        yield client


def _allowed(answer):
    """What the answer's headers allow pages of elsewhere."""
    return {name for name in answer.headers if name.startswith("access-control-allow")}


def test_the_root_leads_to_the_page(paged):
    told = httpx.get(paged.url)
    assert (told.status_code, told.headers["location"]) == (307, "/ui")
    assert httpx.post(paged.url).status_code == 404


FOREIGN = [
    "https://evil.example",
    "https://evil.example.org",
    f"https://{HOST}.evil.example",
    f"https://{HOST}:8443",
    f"https://evil.example#{HOST}",
    f"https://{HOST}@evil.example",
    f"chrome-extension://{HOST}",
    f"//{HOST}",
    HOST,
    "null",
    "https://",
    "http://[",
    "",
]
ROUTES = [
    ("GET", "/ui/config"),
    ("GET", "/ui/"),
    ("GET", f"{GRADIO}/queue/data?session_hash=x"),
    ("POST", f"{GRADIO}/queue/join"),
    ("POST", f"{GRADIO}/upload"),
    ("POST", "/ui/login"),
    ("GET", "/v1/streams"),
    ("POST", "/v1/streams"),
    ("GET", "/health"),
    ("GET", "/metrics"),
    ("GET", "/no/such/path"),
]


@pytest.mark.parametrize("origin", FOREIGN)
def test_no_route_answers_a_foreign_page(operator, origin):
    key = {"Authorization": f"Bearer {MASTER}"}
    for way, path in ROUTES:
        refused = operator.request(way, path, headers={"Origin": origin, **key})
        assert refused.status_code == 403, (way, path)
        assert refused.json()["error"]["code"] == "host_refused"
        assert _allowed(refused) == set()


@pytest.mark.parametrize("path", ["/ui/config", f"{GRADIO}/queue/join", "/v1/streams"])
def test_a_foreign_page_is_promised_nothing_before_it_asks(operator, path):
    wish = {"Access-Control-Request-Method": "POST", "Origin": "https://evil.example"}
    for host in (HOST, "127.0.0.1:8900"):
        refused = operator.options(path, headers={**wish, "Host": host})
        assert refused.status_code == 403
        assert _allowed(refused) == set()


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        (None, HOST),
        (f"https://{HOST}", HOST),
        (f"https://{HOST}:443", HOST),
        (f"https://{HOST}", f"{HOST}:443"),
        (f"http://{HOST}", f"{HOST}:80"),
        (f"https://{HOST.upper()}", HOST),
        (f"https://{HOST}", HOST.title()),
        (f"https://{HOST}:8443", f"{HOST}:8443"),
        ("http://127.0.0.1:8900", "127.0.0.1:8900"),
        ("http://[::1]:8900", "[::1]:8900"),
    ],
)
def test_the_services_own_page_is_answered(operator, origin, host):
    headers = {"Host": host, **({} if origin is None else {"Origin": origin})}
    for path in ("/ui/config", "/health"):
        assert operator.get(path, headers=headers).status_code == 200


def test_a_page_without_tls_is_foreign_where_the_proxy_says_that_it_ends_tls(operator):
    """Who sits between may write the page that comes without."""
    told = {"Origin": f"http://{HOST}", "X-Forwarded-Proto": "https"}
    assert operator.get("/ui/config", headers=told).status_code == 403
    told["Origin"] = f"https://{HOST}"
    assert operator.get("/ui/config", headers=told).status_code == 200


def test_the_login_does_not_travel_with_requests_of_other_sites(cookies):
    assert cookies
    for cookie in cookies:
        assert "samesite=lax" in cookie.lower(), cookie
        assert "httponly" in cookie.lower()


def _knocked(service, origin, key=None):
    """The status of a WebSocket for pushing frames; 101 if it is let in."""
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    url = service.url.replace("http", "ws") + "/v1/streams/door/frames"
    try:
        with connect(url, origin=origin, additional_headers=headers):
            return 101
    except InvalidStatus as error:
        return error.response.status_code


def test_a_websocket_is_for_the_own_page_and_those_that_are_listed(paged):
    assert _knocked(paged, "https://evil.example", MASTER) == 403
    assert _knocked(paged, "null", MASTER) == 403
    for origin in (None, paged.url, LISTED):
        assert _knocked(paged, origin, MASTER) == 101
        assert _knocked(paged, origin) == 403


def test_a_listed_page_calls_with_a_key_in_a_header(operator):
    wish = {
        "Origin": LISTED,
        "Access-Control-Request-Method": "DELETE",
        "Access-Control-Request-Headers": "authorization, content-type",
    }
    promised = operator.options("/v1/streams/door", headers=wish)
    assert promised.status_code == 200
    assert promised.headers["access-control-allow-origin"] == LISTED
    assert "DELETE" in promised.headers["access-control-allow-methods"]
    assert "authorization" in promised.headers["access-control-allow-headers"].lower()
    assert "access-control-allow-credentials" not in promised.headers
    for key, status in ((MASTER, 200), ("wrong", 401)):
        headers = {"Origin": LISTED, "Authorization": f"Bearer {key}"}
        told = operator.get("/v1/streams", headers=headers)
        assert told.status_code == status
        assert told.headers["access-control-allow-origin"] == LISTED
        assert "access-control-allow-credentials" not in told.headers


def test_a_listed_page_gets_nothing_by_the_operators_cookie(operator):
    assert operator.get("/ui/config").status_code == 200
    for way, path in (("GET", "/ui/config"), ("POST", f"{GRADIO}/queue/join")):
        refused = operator.request(way, path, headers={"Origin": LISTED})
        assert refused.status_code == 401, refused.text
        assert "access-control-allow-credentials" not in refused.headers
    wish = {"Origin": LISTED, "Access-Control-Request-Method": "POST"}
    promised = operator.options(f"{GRADIO}/queue/join", headers=wish)
    assert "access-control-allow-credentials" not in promised.headers


@pytest.mark.timeout(400)  # a busy machine imports all of it slowly
def test_the_page_of_a_service_elsewhere_is_as_closed(paged):
    port = free_port()
    options = ("--service", paged.url, "--port", port)
    process = Process("ui", *options, VSTREAM_API_KEY=MASTER)
    try:
        process.await_line("the page of", seconds=120)
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            told = client.post("/login", data={"username": "me", "password": MASTER})
            cookies = told.headers.get_list("set-cookie")
            assert all("samesite=lax" in one.lower() for one in cookies)
            cookie = {"Cookie": cookies[0].split(";")[0]}
            for headers in ({"Host": HOST}, {}):
                foreign = {**cookie, **headers, "Origin": "https://evil.example"}
                wish = {**foreign, "Access-Control-Request-Method": "POST"}
                for refused in (
                    client.get("/config", headers=foreign),
                    client.post("/gradio_api/queue/join", headers=foreign),
                    client.options("/gradio_api/queue/join", headers=wish),
                ):
                    assert refused.status_code == 403
                    assert _allowed(refused) == set()
            own = {**cookie, "Host": HOST, "Origin": f"https://{HOST}"}
            assert client.get("/config", headers=own).status_code == 200
    finally:
        assert process.terminate() == 0


@pytest.mark.parametrize(
    "origin",
    ["*", "null", "panel.example.org", "https://panel.example.org/x", "https://", "ftp://a"],
)
def test_only_whole_origins_are_listed(origin):
    with pytest.raises(Exception, match="allow_origins"), running_service(allow_origins=[origin]):
        pass


@pytest.mark.parametrize("port", ["", ":3000", ":7860"])
def test_without_a_key_another_port_of_this_machine_is_foreign(unlocked, port):
    for name in ("localhost", "127.0.0.1", "[::1]"):
        origin = f"http://{name}{port}"
        refused = unlocked.http.get("/v1/streams", headers={"Origin": origin})
        assert refused.status_code == 403
        assert refused.json()["error"]["code"] == "host_refused"
    own = {"Origin": unlocked.url}
    assert unlocked.http.get("/v1/streams", headers=own).status_code == 200


def test_what_is_refused_is_counted(unlocked):
    def count():
        return unlocked.figure("vstream_http_requests_total", status="403") or 0

    before = count()
    unlocked.http.get("/v1/streams", headers={"Origin": "https://evil.example"})
    assert count() == before + 1


@pytest.mark.parametrize("path", ["/ui/", "/health", "/v1/streams"])
def test_only_the_own_page_and_listed_ones_may_show_it_in_a_frame(operator, path):
    told = operator.get(path).headers["content-security-policy"]
    assert told == f"frame-ancestors 'self' {LISTED}"
