"""The page is opened and closed a hundred times, and nothing of that is left."""

import gc
import secrets

import httpx
import psutil
import pytest
from one_thing import thing_jpeg
from page_visitor import shown_page
from processes import until
from service import running_service

from app.client import ServiceClient

pytestmark = pytest.mark.filterwarnings("ignore")


def _looks(client):
    """What a page asks for by itself when it is opened."""
    found = client.get("config").json()["dependencies"]
    events = {"look", "load"}
    looks = [one for one in found if events & {event for _, event in one["targets"]}]
    return [one["id"] for one in looks if not one["inputs"]]


def _visit(client, looks):
    """As a browser does: a connection that says it is open, and what it looks at."""
    session = {"session_hash": secrets.token_hex(5)}
    assert client.get("").is_success
    with client.stream("GET", f"gradio_api/heartbeat/{session['session_hash']}") as open_page:
        beats = open_page.iter_raw()  # it hangs up if nobody refers to this any more
        next(beats)
        for number in looks:
            asked = {"data": [], "fn_index": number, **session}
            assert client.post("gradio_api/queue/join", json=asked).is_success
        with client.stream("GET", "gradio_api/queue/data", params=session) as events:
            told = [line for line in events.iter_lines() if "process_completed" in line]
    assert len(told) == len(looks)
    assert all('"success":true' in line for line in told)


def _usage():
    gc.collect()
    process = psutil.Process()
    return process.num_fds(), process.num_threads()


def test_a_page_that_was_closed_leaves_nothing():
    with running_service() as service:
        service.post("/v1/streams", {"id": "door", "source": {"type": "push"}})
        service.http.post("/v1/streams/door/frames", content=thing_jpeg("owl"))
        with (
            shown_page(ServiceClient(service.url)) as (page, url),
            httpx.Client(base_url=url, timeout=60) as client,
        ):
            looks = _looks(client)
            seen = []
            for number in range(110):
                _visit(client, looks)
                seen += page.visitors
                if number == 9:
                    until(lambda: not list(page.visitors), 20)
                    fds, threads = _usage()
                    held_bytes = psutil.Process().memory_info().rss
            assert len(set(seen)) >= 100
            until(lambda: not list(page.visitors), 20)
            until(lambda: _usage() <= (fds + 2, threads + 2))
            assert psutil.Process().memory_info().rss - held_bytes < 32 << 20
