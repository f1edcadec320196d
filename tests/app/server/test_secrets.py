"""A real `vstream serve`: whom it lets in, and that passwords of cameras are told to nobody."""

import time

import httpx
import pytest
from event_listener import EventListener
from processes import Process, until
from rtsp_camera import ScriptedRtspServer, free_port

KEY = "correct-horse-battery"
SECRET = "hunter2"
USER = "operator7"
SPELLINGS = (
    "rtsp://operator7:hunter2@127.0.0.1:{port}/live",
    "RTSP://operator7:hunter2@127.0.0.1:{port}/live",
    "rtsp://operator7:a@hunter2@127.0.0.1:{port}/live",
    "rtsp://operator7:a/hunter2@127.0.0.1:{port}/live",
    "rtsp://operator7:%68unter2@127.0.0.1:{port}/live",
    "rtsp://operator7:hunter2@127.0.0.1:{dead}/live",
    "rtsp://operator7:hunter2@127.0.0.1:{port}",
    "rtsp://127.0.0.1:{port}/live?user=operator7&password=hunter2",
    "rtsp://127.0.0.1:{port}/user=operator7&password=hunter2&channel=1",
    "rtsp://127.0.0.1:{port}/live?PWD=hunter2#token=hunter2",
    "http://operator7:hunter2@127.0.0.1:{dead}/video.mjpg",
    "rtsps://operator7:hunter2@127.0.0.1:{port}/live",
    "rtsp://operator7:hunter2@127.0.0.1:99999/live",
    "rtsp://operator7:hunter2@[127.0.0.1:{port}/live",
    "rtsp://operator7:hunter2@nowhere.invalid/live",
    "rtsp://operator7:hunter2@127.0.0.1:{port}/live\r\nX: y",
    "operator7:hunter2@127.0.0.1:{port}/live",
    "rtsp:/operator7:hunter2@127.0.0.1:{port}/live",
    "ftp://operator7:hunter2@127.0.0.1:{port}/live",
)


@pytest.fixture(scope="module")
def served():
    """The process, its address and all that was told by it."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("VSTREAM_API_KEY", KEY)
        process = Process("serve", "--port", "0", "--allow-private")
    try:
        process.await_line("listening on")
        line = next(line for line in process.err if "listening on" in line)
        url = line.split("listening on ")[1].split()[0]
        until(lambda: httpx.get(f"{url}/ready").status_code == 200)
        yield process, url
    finally:
        process.terminate()


@pytest.fixture(scope="module")
def heard(served):
    """Every document, the figures, the events and the log of a service with such cameras."""
    process, url = served
    with (
        ScriptedRtspServer("wrong_password") as camera,
        EventListener(url, KEY) as listener,
        httpx.Client(
            base_url=url, headers={"Authorization": f"Bearer {KEY}"}, timeout=300
        ) as client,
    ):
        told = {}

        def note(what, answer):
            told[what] = f"{answer.status_code} {dict(answer.headers)} {answer.text}"
            return answer

        watched = []
        for number, spelling in enumerate(SPELLINGS):
            address = spelling.format(port=camera.port, dead=free_port())
            source = {"url": address}
            made = note(
                f"create {spelling}",
                client.post("/v1/streams", json={"id": f"cam{number}", "source": source}),
            )
            if made.status_code == 201:
                watched.append(f"cam{number}")
            else:
                note(f"probe {spelling}", client.post("/v1/streams/probe", json={"source": source}))
        assert len(watched) >= 10

        def has_failed(stream_id):
            found = note(f"get {stream_id}", client.get(f"/v1/streams/{stream_id}"))
            return found.json()["error"] is not None

        until(lambda: all(has_failed(stream_id) for stream_id in watched))
        note(
            "probe", client.post("/v1/streams/probe", json={"source": {"url": camera_url(camera)}})
        )
        for change in ({"timezone": "No/Where"}, {"context": "x"}, {"context": 7}):
            note(f"change {change}", client.patch(f"/v1/streams/{watched[0]}", json=change))
        again = {"id": watched[0], "source": {"url": camera_url(camera)}}
        note("again", client.post("/v1/streams", json=again))
        for wrong in ({"id": "a b"}, {"timezone": "No/Where"}, {"masks": [[[0, 0]]]}, {"more": 1}):
            note(f"wrong {wrong}", client.post("/v1/streams", json=again | wrong))
        hook = {"type": "webhook", "url": "http://operator7:hunter2@127.0.0.1:9/x?token=hunter2"}
        alert = {"stream_ids": [watched[0]], "condition": "tell me", "actions": [hook]}
        note("alert", client.post("/v1/alerts", json=alert))
        ask = {"messages": [{"role": "user", "content": "what is there?"}]}
        note("ask", client.post("/v1/chat/completions", json=ask))
        for path in ("/v1/streams", "/v1/alerts", "/metrics", "/ready", "/openapi.json"):
            note(path, client.get(path))
        for stream_id in watched:
            note(f"restart {stream_id}", client.post(f"/v1/streams/{stream_id}/restart"))
            note(f"delete {stream_id}", client.delete(f"/v1/streams/{stream_id}?purge=true"))
        listener.await_events(
            lambda events: sum(e["type"] == "stream.deleted" for e in events) == len(watched)
        )
        told["events"] = listener.text
        assert camera.passwords_seen, "nobody tried to come in"
    time.sleep(0.2)
    told["log"] = "".join(process.out + process.err)
    assert "STREAM_AUTH_FAILED" in told["log"]
    assert "STREAM_AUTH_FAILED" in told["events"]
    return told


def camera_url(camera):
    return f"rtsp://{USER}:{SECRET}@127.0.0.1:{camera.port}/live"


@pytest.mark.parametrize("secret", [SECRET, "%68unter2", USER, KEY])
def test_nothing_that_is_told_holds_a_secret(heard, secret):
    leaks = {what: text for what, text in heard.items() if secret in text}
    assert not leaks


def test_the_key_is_needed_on_loopback_too(served):
    _, url = served
    for key in ({}, {"Authorization": "Bearer wrong-horse-battery"}):
        assert httpx.get(f"{url}/v1/streams", headers=key).status_code == 401
    good = httpx.get(f"{url}/v1/streams", headers={"Authorization": f"Bearer {KEY}"})
    assert good.status_code == 200
    for path in ("/health", "/ready", "/version", "/metrics"):
        assert httpx.get(url + path).status_code == 200


@pytest.mark.parametrize("host", ["0.0.0.0"])
def test_other_machines_are_not_let_in_without_a_key(host):
    process = Process("serve", "--port", "0", "--host", host)
    assert process.wait() != 0
    said = "".join(process.err)
    assert "VSTREAM_API_KEY" in said
    assert "routes at" not in said
