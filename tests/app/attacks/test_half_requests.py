"""Requests of which the rest never comes are not waited for without end, nor without number."""

import resource
import socket
import threading
from contextlib import ExitStack, contextmanager, suppress

import httpx
import pytest
from event_listener import EventListener
from one_thing import thing_jpeg
from processes import until
from service import running_service
from structlog.testing import capture_logs
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from app.server.connections import ConnectionBounds, allow_descriptors

MOST = 8
HALF_HEADER = b"GET /health HTTP/1.1\r\nHost: localhost\r\nX-A: "
WHOLE = b"GET /version HTTP/1.1\r\nHost: localhost\r\n\r\n"
HALF_BODY = (
    b"POST /v1/search HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    b"Content-Length: 5000\r\n\r\n{"
)
PUSH = b"POST /v1/streams/door/frames HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n"
RATE = 64
"""Bytes a second that a body must keep up."""


@contextmanager
def _service(**bounds):
    with running_service(bounds=ConnectionBounds(**bounds)) as running:
        running.post("/v1/streams", {"id": "door", "source": {"type": "push"}})
        yield running


@pytest.fixture(scope="module")
def hasty():
    """Waits for the rest of a request for a moment only."""
    with _service(header_s=0.4, body_s=0.4, body_bytes_per_s=RATE) as running:
        yield running


@pytest.fixture(scope="module")
def small():
    """Has few connections, and waits for the rest of a request as long as any test takes."""
    with _service(most=MOST, header_s=600, body_s=600) as running:
        running.http.close()  # its connection is not to be counted
        until(lambda: _num_connections(running) == 0)
        yield running


@pytest.fixture
def opened():
    with ExitStack() as sockets:

        def opened(service, sent=b""):
            """A connection on which so much has been sent."""
            made = sockets.enter_context(
                socket.create_connection(("127.0.0.1", int(service.url.rsplit(":", 1)[1])))
            )
            made.settimeout(20)
            made.sendall(sent)
            return made

        yield opened


def _num_connections(service):
    return len(service.server.server_state.connections)


def _heard(connection):
    """All that comes until the service closes it."""
    heard = b""
    while piece := connection.recv(1 << 16):
        heard += piece
    return heard


def _status(answer):
    return int(answer.split()[1])


@pytest.mark.parametrize("sent", [HALF_HEADER, HALF_HEADER[:1], HALF_BODY])
def test_half_a_request_is_let_go(hasty, opened, sent):
    assert _status(_heard(opened(hasty, sent))) == 408


def test_a_connection_on_which_nothing_is_sent_is_let_go(hasty, opened):
    _heard(opened(hasty))


def test_half_a_request_after_a_whole_one_is_let_go(hasty, opened):
    for half in (HALF_HEADER, HALF_BODY):
        connection = opened(hasty, WHOLE + half)
        answers = _heard(connection)
        assert answers.startswith(b"HTTP/1.1 200")
        assert b"HTTP/1.1 408" in answers


def test_an_empty_line_after_a_whole_request_is_no_reason_to_wait(hasty, opened):
    connection = opened(hasty, WHOLE)
    assert connection.recv(100).startswith(b"HTTP/1.1 200")
    connection.sendall(b"\r\n")
    _heard(connection)


def test_a_header_that_trickles_is_let_go(hasty, opened):
    connection = opened(hasty, HALF_HEADER)
    connection.settimeout(0.05)
    for _ in range(400):
        connection.sendall(b"a")
        with suppress(TimeoutError):
            assert _status(connection.recv(100)) == 408
            return
    pytest.fail("it may trickle without end")


def test_a_header_without_end_is_refused(hasty, opened):
    with pytest.raises(ConnectionError):
        opened(hasty, HALF_HEADER).sendall(b"a" * (40 << 20))


def test_a_connection_between_two_requests_is_let_be(hasty, opened):
    idle = opened(hasty, WHOLE)
    assert _answer(idle).startswith(b"HTTP/1.1 200")
    _heard(opened(hasty))  # longer than a header may take
    idle.sendall(WHOLE)
    assert _answer(idle).startswith(b"HTTP/1.1 200")


def _answer(connection):
    """One whole answer, which may come in pieces."""
    heard = b""
    while not heard.endswith(b"}"):
        heard += connection.recv(1 << 16) or b"}"
    return heard


def test_a_body_that_keeps_coming_is_waited_for(hasty, opened):
    picture = thing_jpeg("owl")
    slow = opened(hasty, PUSH % len(picture))
    half = threading.Thread(target=_heard, args=[opened(hasty, HALF_BODY)])
    half.start()
    sent = 0
    while half.is_alive() and sent < len(picture) - 64:  # longer than half a body may take
        slow.sendall(picture[sent : sent + 64])
        sent += 64
        half.join(0.05)
    assert not half.is_alive()
    slow.sendall(picture[sent:])
    assert slow.recv(1 << 16).startswith(b"HTTP/1.1 200")


def test_what_lasts_is_let_be(hasty, opened):
    url = hasty.url.replace("http", "ws") + "/v1/streams/door/frames"
    with EventListener(hasty.url) as listener, connect(url) as pushing:
        _heard(opened(hasty))
        _heard(opened(hasty, HALF_BODY))
        pushing.send(thing_jpeg("owl"))
        assert '"accepted"' in pushing.recv(timeout=20)
        hasty.post("/v1/streams", {"id": "yard", "source": {"type": "push"}})
        listener.await_events(lambda events: any(one["stream_id"] == "yard" for one in events))
        hasty.delete("/v1/streams/yard")


def test_no_error_is_logged_of_clients_that_send_half(hasty, opened):
    def num_ended():
        frames = "/v1/streams/{stream_id}/frames"
        return hasty.figure("vstream_http_requests_total", route=frames, status="400") or 0

    with capture_logs() as logged:
        _heard(opened(hasty, PUSH % 1000))
        opened(hasty, PUSH % 1000).close()
        until(lambda: num_ended() == 2)
    assert [one for one in logged if one["log_level"] == "error"] == []


@pytest.mark.parametrize("sent", [b"", HALF_HEADER, HALF_BODY, WHOLE])
def test_of_too_many_the_one_silent_longest_makes_room(small, opened, sent):
    silent = []
    for number in range(MOST):
        silent.append(opened(small, sent))
        until(lambda number=number: _num_connections(small) == number + 1)
        if sent == WHOLE:
            assert silent[-1].recv(1 << 16).startswith(b"HTTP/1.1 200")
    silent[0].sendall(HALF_HEADER if sent in (b"", WHOLE) else b"X")
    with httpx.Client(base_url=small.url) as client:
        assert client.get("/version").status_code == 200
    assert _heard(silent[1]) == b""
    until(lambda: _num_connections(small) == MOST - 1)
    for one in (silent[0], *silent[2:]):
        one.close()
    until(lambda: _num_connections(small) == 0)


def test_where_all_are_in_use_the_next_is_refused_but_health_is_told(small):
    url = small.url.replace("http", "ws") + "/v1/streams/door/frames"
    with ExitStack() as used:
        for _ in range(MOST - 1):
            used.enter_context(EventListener(small.url))
        socket = used.enter_context(connect(url))
        assert _num_connections(small) == MOST
        refused = httpx.get(f"{small.url}/v1/streams")
        assert refused.status_code == 503
        with pytest.raises(InvalidStatus) as caught:
            connect(url)
        assert caught.value.response.status_code == 503
        for path in ("/health", "/ready", "/metrics"):
            assert httpx.get(f"{small.url}{path}").status_code == 200
        socket.close()
        until(lambda: _num_connections(small) == MOST - 1)
        assert httpx.get(f"{small.url}/v1/streams").status_code == 200
    until(lambda: _num_connections(small) == 0)


@pytest.mark.parametrize(
    ("limits", "then"), [((1024, 4096), 2000), ((3000, 4096), 3000), ((1024, 1500), 1500)]
)
def test_there_are_descriptors_for_as_many_connections_as_may_be(monkeypatch, limits, then):
    """Many systems let a process open 1024 files until it asks for more."""
    now = [limits]
    monkeypatch.setattr(resource, "getrlimit", lambda kind: now[-1])
    monkeypatch.setattr(resource, "setrlimit", lambda kind, limits: now.append(limits))
    allow_descriptors(ConnectionBounds(most=1000))
    assert now[-1] == (then, limits[1])
