"""/v1/realtime: OpenAI's SDK and the events that it is known to send, over a real WebSocket."""

import asyncio
import base64
import json
from contextlib import asynccontextmanager
from pathlib import Path

import openai
import pytest
import websockets
from one_thing import thing_jpeg
from processes import until
from service import no_words, running_service

from app.server.keys import ScopedKey, new_key

RECORDED = json.loads((Path(__file__).parents[2] / "data/openai_realtime.json").read_text("utf-8"))
MASTER = "correct-horse-battery"
NARROW, NARROW_HASH = new_key()
PATIENCE_S = 60


@pytest.fixture(scope="module")
def service():
    narrow = ScopedKey(name="narrow", hash=NARROW_HASH, streams=("yard",), can={"ask"})
    with running_service(key=MASTER, scoped=[narrow], model_aliases=["vstream"]) as running:
        running.post("/v1/streams", {"id": "door", "source": {"type": "push"}})
        yield running


def picture(thing, part=0.5):
    jpeg = base64.b64encode(thing_jpeg(thing, part)).decode()
    return {"type": "input_image", "image_url": f"data:image/jpeg;base64,{jpeg}"}


def message(text, *pictures):
    content = [{"type": "input_text", "text": text}] if text else []
    return {"type": "message", "role": "user", "content": [*content, *pictures]}


class Client:
    """Sends events, and reads until one of a kind."""

    def __init__(self, socket):
        self._socket = socket

    async def send(self, kind, **content):
        await self._socket.send(json.dumps({"type": kind, **content}))

    async def until(self, kind):
        seen = []
        while not seen or seen[-1]["type"] != kind:
            async with asyncio.timeout(PATIENCE_S):
                seen.append(json.loads(await self._socket.recv()))
        return seen

    async def ask(self, *items):
        for item in items:
            await self.send("conversation.item.create", item=item)
        await self.send("response.create")
        [response] = [one["response"] for one in (await self.until("response.done"))[-1:]]
        return response

    async def error(self):
        return (await self.until("error"))[-1]["error"]


@asynccontextmanager
async def connected(service, query="", key=MASTER):
    url = f"{service.url.replace('http', 'ws')}/v1/realtime{query}"
    headers = {"Authorization": f"Bearer {key}"}
    async with websockets.connect(url, additional_headers=headers) as socket:
        yield Client(socket)


def words(response):
    assert response["status"] == "completed", response
    [item] = response["output"]
    return item["content"][0]["text"]


def holds(document, expected):
    """Whether it has all that is expected, whatever the ids and words."""
    for name, value in expected.items():
        if name not in document:
            return False
        if isinstance(value, dict) and not holds(document[name], value):
            return False
        if name in ("type", "object", "status", "role", "model", "output_modalities"):
            assert document[name] == value, (name, document, expected)
    return True


def test_what_the_sdk_sends_is_answered_with_the_events_that_it_reads(service):
    async def replay():
        async with connected(service, RECORDED["path"].removeprefix("/v1/realtime")) as client:
            seen = await client.until("session.created")
            for event in RECORDED["body"]["client_events"]:
                text = json.dumps(event).replace(
                    "<JPEG_1>", base64.b64encode(thing_jpeg("owl")).decode()
                )
                await client.send(**{"kind": json.loads(text).pop("type"), **_rest(text)})
            return [*seen, *await client.until("response.done")]

    seen = asyncio.run(replay())
    assert all(event["event_id"] for event in seen)
    wanted = RECORDED["expects"]["server_events_in_order"]
    kinds = [event["type"] for event in seen]
    once = [kind for place, kind in enumerate(kinds) if kind not in kinds[:place]]
    assert once == [event["type"] for event in wanted]
    for expected in wanted:
        [event, *_] = [one for one in seen if one["type"] == expected["type"]]
        assert holds(event, {k: v for k, v in expected.items() if k != "note"}), (event, expected)
    deltas = "".join(one["delta"] for one in seen if one["type"] == "response.output_text.delta")
    assert words(seen[-1]["response"]) == deltas.strip()
    assert "owl" in deltas


def _rest(text):
    return {name: value for name, value in json.loads(text).items() if name != "type"}


def test_the_sdk_shows_a_stream_what_comes_and_asks_again_in_another_session(service):
    async def ask(*items):
        client = openai.AsyncOpenAI(base_url=f"{service.url}/v1", api_key=MASTER)
        async with client.realtime.connect(model="vstream", extra_query={"stream": "door"}) as live:
            await live.session.update(session={"type": "realtime", "output_modalities": ["text"]})
            for item in items:
                await live.conversation.item.create(item=item)
            await live.response.create()
            async for event in live:
                assert event.type != "error", event
                if event.type == "response.done":
                    return event.response.output[0].content[0].text
            raise AssertionError("it ended without an answer")

    shown = [message("", picture("owl", part)) for part in (0.3, 0.5, 0.7)]
    assert asyncio.run(ask(*shown, message("what do you see now?"))) == "an owl"
    assert asyncio.run(ask(message("have you seen an owl?"))) == "yes"
    blocks = service.await_stream("door", lambda told: told["memory"]["blocks"])["memory"]["blocks"]
    assert blocks >= 1, "pictures that were shown are frames of the stream"


def test_a_dialogue_goes_on_and_an_item_that_is_deleted_is_not_in_it(service):
    async def talk():
        async with connected(service) as client:
            await client.until("session.created")
            first = await client.ask(message("what do you see?", picture("owl")))
            await client.send("conversation.item.retrieve", item_id=first["output"][0]["id"])
            kept = (await client.until("conversation.item.retrieved"))[-1]["item"]
            again = await client.ask(message("have you seen an owl?"))
            await client.send("conversation.item.delete", item_id=kept["id"])
            await client.until("conversation.item.deleted")
            await client.send("conversation.item.retrieve", item_id=kept["id"])
            return words(first), kept["content"][0]["text"], words(again), await client.error()

    first, kept, again, gone = asyncio.run(talk())
    assert first == kept == "an owl"
    assert again == "yes"
    assert gone["code"] == "item_not_found"


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        ("input_audio_buffer.append", {"audio": "AAAA"}),
        ("session.update", {"session": {"type": "realtime", "output_modalities": ["audio"]}}),
        ("response.create", {"response": {"output_modalities": ["audio"]}}),
        (
            "conversation.item.create",
            {
                "item": {
                    "type": "message",
                    "role": "user",
                    "content": [{"type": "input_audio", "audio": "AAAA"}],
                }
            },
        ),
    ],
)
def test_audio_is_refused_by_name_and_the_session_goes_on(service, kind, content):
    async def talk():
        async with connected(service) as client:
            await client.send(kind, event_id="mine", **content)
            error = await client.error()
            return error, words(await client.ask(message("what do you see?", picture("owl"))))

    error, answer = asyncio.run(talk())
    assert "audio" in error["message"]
    assert error["event_id"] == "mine"
    assert answer == "an owl"


def test_what_makes_no_sense_is_an_error_and_ends_nothing(service):
    async def talk():
        codes = []
        async with connected(service) as client:
            for wrong in (
                {"kind": "response.create"},
                {"kind": "response.cancel"},
                {"kind": "nonsense"},
                {"kind": "session.update"},
                {"kind": "session.update", "session": {"type": "realtime", "stream": "nowhere"}},
                {"kind": "conversation.item.create", "item": {"type": "function_call"}},
                {"kind": "response.create", "response": {"input": [{"type": "message"}]}},
                {"kind": "response.create", "response": "now"},
                {"kind": "response.create", "response": {"input": "what is there?"}},
                {"kind": "session.update", "session": {"stream": 5}},
                {"kind": "conversation.item.create", "item": {**message("?"), "id": "i" * 101}},
            ):
                await client.send(**wrong)
                codes.append((await client.error())["code"])
            for text in ("{", "[" * 100_000, b"\x00"):
                await client._socket.send(text)
                codes.append((await client.error())["code"])
            return codes, words(await client.ask(message("what do you see?", picture("owl"))))

    codes, answer = asyncio.run(talk())
    assert codes == [
        *("question_invalid", "response_cancel_not_active", "invalid_value", "invalid_value"),
        *("stream_not_found", *["invalid_value"] * 6),
        *["invalid_json"] * 3,
    ]
    assert answer == "an owl"


def test_a_response_is_cancelled_and_one_beside_the_conversation_is_not_in_it(service):
    def have_all_left():
        askers = [asker for one in service.services for asker in one.answering._askers]
        return bool(askers) and all(asker.has_left for asker in askers)

    async def talk():
        async with connected(service) as client:
            await client.until("session.created")
            item = message("what do you see?", picture("owl"))
            await client.send("conversation.item.create", item=item)
            with no_words(service):
                await client.send("response.create")
                await client.until("response.created")
                await client.send("response.create")
                busy = await client.error()
                await client.send("response.cancel")
                until(have_all_left, seconds=30)
            cancelled = (await client.until("response.done"))[-1]["response"]
            apart = {"conversation": "none", "metadata": {"of": "apart"}, "input": [item]}
            await client.send("response.create", response=apart)
            beside = (await client.until("response.done"))[-1]["response"]
            await client.send("conversation.item.retrieve", item_id=beside["output"][0]["id"])
            return busy, cancelled, beside, await client.error()

    busy, cancelled, beside, gone = asyncio.run(talk())
    assert busy["code"] == "conversation_already_has_active_response"
    assert cancelled["status"] == "cancelled"
    assert words(beside) == "an owl"
    assert beside["metadata"] == {"of": "apart"}
    assert gone["code"] == "item_not_found"


def test_keys_hold(service):
    async def refused(key):
        with pytest.raises(websockets.InvalidStatus) as found:
            async with connected(service, key=key):
                pass
        return found.value.response.status_code

    async def seen_by_narrow():
        async with connected(service, "?stream=door", key=NARROW) as client:
            first = await client.error()
            created = (await client.until("session.created"))[-1]["session"]
            return first["code"], created["stream"]

    assert asyncio.run(refused("wrong")) == 403
    assert asyncio.run(seen_by_narrow()) == ("stream_not_found", None)


def test_who_leaves_asks_no_more(service):
    async def leave():
        async with connected(service) as client:
            await client.send(
                "conversation.item.create", item=message("what do you see?", picture("owl"))
            )
            await client.send("response.create")
            await client.until("response.created")

    with no_words(service):
        asyncio.run(leave())
        until(lambda: not any(one.answering.num for one in service.services), seconds=30)
