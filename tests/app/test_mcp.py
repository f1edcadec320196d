"""`vstream mcp` as a process, over stdio and HTTP, talked to by the SDK's own client."""

import asyncio
import base64
import io
import os
import subprocess
import sys
from contextlib import asynccontextmanager

import httpx2
import pytest
from mcp import Client, MCPError, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client
from PIL import Image
from processes import Process, until
from rtsp_camera import free_port
from service import running_service
from synthetic_video import picture

from app.client import ServiceClient
from app.server.keys import ScopedKey, new_key

MASTER = "a-master-key-of-the-tests"
READING = {
    *("list_streams", "ask", "search", "find", "recap", "picture"),
    *("list_alerts", "list_firings"),
}
CHANGING = {"add_alert", "delete_alert", "pause", "resume", "forget"}
SECONDS = 4


@pytest.fixture(scope="module")
def scoped():
    return new_key()


@pytest.fixture(scope="module")
def service(scoped):
    guest = ScopedKey(name="guest", hash=scoped[1], streams=("door",))
    with running_service(key=MASTER, scoped=[guest]) as running:
        with ServiceClient(running.url, MASTER) as client:
            for stream in ("door", "garden"):
                client.create_stream(stream, {"type": "push"}, sampling={"fps": 1, "dedup": 0})
                for second in range(SECONDS):
                    pushed = {
                        "content": jpeg(second),
                        "headers": {"X-Capture-Time": str(1.7e9 + second)},
                    }
                    running.http.post(f"/v1/streams/{stream}/frames", **pushed).raise_for_status()
                    running.await_stream(stream, lambda one: one["memory"]["blocks"] > second)  # noqa: B023
        yield running


@pytest.fixture(scope="module")
def mcp_url(service):
    """Of one that serves over HTTP, with changes."""
    port = free_port()
    arguments = ("mcp", "--http", "--allow-changes", "--service", service.url, "--port", str(port))
    process = Process(*arguments, VSTREAM_API_KEY=MASTER)  # which it does not lend to its callers
    try:
        until(lambda: answers(f"http://127.0.0.1:{port}/mcp") or not process.is_running, 60)
        assert process.is_running, "".join(process.err)
        yield f"http://127.0.0.1:{port}/mcp"
    finally:
        process.kill()


def answers(url):
    try:
        return httpx2.post(url).status_code < 500
    except httpx2.TransportError:
        return False


def jpeg(number):
    buffer = io.BytesIO()
    Image.fromarray(picture(number)).save(buffer, "JPEG")
    return buffer.getvalue()


@asynccontextmanager
async def over_stdio(service, *options):
    arguments = ["-m", "app", "mcp", "--service", service.url, *options]
    environment = {**os.environ, "VSTREAM_API_KEY": MASTER}
    server = StdioServerParameters(command=sys.executable, args=arguments, env=environment)
    async with Client(server) as client:
        yield client


@asynccontextmanager
async def over_http(url, key=None):
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    async with (
        httpx2.AsyncClient(headers=headers, timeout=60) as http,
        Client(streamable_http_client(url, http_client=http)) as client,
    ):
        yield client


async def called(client, tool, **arguments):
    """Its texts and its pictures."""
    result = await client.call_tool(tool, arguments)
    texts = [one.text for one in result.content if one.type == "text"]
    assert not result.is_error, texts
    pictures = [base64.b64decode(one.data) for one in result.content if one.type == "image"]
    return result.structured_content, texts, pictures


async def refused(client, tool, **arguments):
    result = await client.call_tool(tool, arguments)
    assert result.is_error
    return result.content[0].text


def test_over_stdio_tools_tell_what_the_service_tells(service):
    async def talk():
        async with over_stdio(service) as client:
            listed = await client.list_tools()
            assert {tool.name for tool in listed.tools} == READING
            assert all("untrusted" in tool.description for tool in listed.tools)
            assert all(tool.annotations.read_only_hint for tool in listed.tools)
            assert "untrusted" in client.instructions
            told = (await called(client, "list_streams"))[0]["result"]
            assert [one["id"] for one in told] == ["door", "garden"]
            question = "what do you see now?"
            asked = await called(client, "ask", streams=["door"], question=question)
            stretch = {"start": "2023-11-14T22:13:21Z", "end": "2023-11-14T22:13:22Z"}
            early = await called(client, "ask", streams=["door"], question=question, **stretch)
            shown = await called(client, "picture", stream="door")
            found = await called(client, "search", query="a dog", streams=["door"], limit=4)
            spans = (await called(client, "find", statement="a dog is there", streams=["door"]))[0]
            recap = (await called(client, "recap", streams=["door"]))[0]
            unknown = await refused(client, "ask", streams=["attic"], question=question)
            forbidden = [
                await refused_or_unknown(client, name, stream="door")
                for name in ("pause", "forget")
            ]
            return asked, early, shown, found, spans, recap, unknown, forbidden

    asked, early, shown, found, spans, recap, unknown, forbidden = asyncio.run(talk())
    with ServiceClient(service.url, MASTER) as client:
        messages = [{"role": "user", "content": "what do you see now?"}]
        *_, answer = client.ask(messages, ["stream://door"])
        assert asked[1][0] == answer.text.strip()
        cited = sorted(answer.citations, key=lambda one: -one.score)[: len(asked[2])]
        assert asked[2] == [client.picture(one.frame_url).jpeg for one in cited] != []
        assert shown[2] == [client.frame("door").jpeg]
        assert len(found[1]) == len(client.search("a dog", ["door"], 4))
        assert found[2]
        *_, whole = client.find("a dog is there", ["door"])
        assert spans["data"] == whole.model_dump(mode="json")["data"]
        assert spans["coverage"].keys() == {"door"}
        assert recap["coverage"].keys() == {"door"}
        assert client.stream("door").state != "paused"
    assert all("22:13:21" in line or "22:13:22" in line for line in early[1][1:])
    assert "attic" in unknown
    assert all("nknown tool" in one for one in forbidden)


async def refused_or_unknown(client, tool, **arguments):
    try:
        return await refused(client, tool, **arguments)
    except MCPError as error:
        return str(error)


def test_over_http_each_caller_has_what_its_own_key_may(service, mcp_url, scoped):
    async def talk():
        async with over_http(mcp_url) as nobody:
            assert "key" in await refused(nobody, "list_streams")
        async with over_http(mcp_url, scoped[0]) as guest:
            told = (await called(guest, "list_streams"))[0]["result"]
            assert [one["id"] for one in told] == ["door"]
            question = {"question": "what do you see?"}
            await called(guest, "ask", streams=["door"], **question)
            await refused(guest, "ask", streams=["garden"], **question)
            await refused(guest, "pause", stream="door")
            await refused(guest, "forget", stream="door")
        async with over_http(mcp_url, MASTER) as owner:
            listed = {tool.name: tool for tool in (await owner.list_tools()).tools}
            assert set(listed) == READING | CHANGING
            assert listed["forget"].annotations.destructive_hint
            await called(owner, "add_alert", stream="garden", condition="a dog is there")
            (alert,) = (await called(owner, "list_alerts"))[0]["result"]
            assert alert["stream_ids"] == ["garden"]
            assert (await called(owner, "list_firings"))[0]["result"] == []
            await called(owner, "delete_alert", alert_id=alert["id"])
            assert (await called(owner, "list_alerts"))[0]["result"] == []
            assert (await called(owner, "pause", stream="garden"))[1] == ["paused"]
            assert (await called(owner, "resume", stream="garden"))[1] != ["paused"]
            await called(owner, "forget", stream="garden")
            told = (await called(owner, "list_streams"))[0]["result"]
            assert [one["id"] for one in told] == ["door"]

    asyncio.run(talk())


def test_a_page_of_elsewhere_cannot_call(mcp_url):
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
    headers = {"Accept": "application/json, text/event-stream", "Origin": "http://evil.example"}
    assert httpx2.post(mcp_url, json=body, headers=headers).status_code == 403
    headers = {"Accept": "application/json, text/event-stream", "Host": "evil.example"}
    assert httpx2.post(mcp_url, json=body, headers=headers).status_code == 421


def test_an_open_service_is_not_offered_to_other_machines():
    with running_service() as open_one:
        arguments = ["-m", "app", "mcp", "--http", "--service", open_one.url, "--host", "0.0.0.0"]
        ended = subprocess.run(
            [sys.executable, *arguments, "--port", str(free_port())], capture_output=True, text=True
        )
    assert ended.returncode == 1
    assert "needs no key" in ended.stderr
