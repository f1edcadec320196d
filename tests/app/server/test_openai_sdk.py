"""The unmodified OpenAI SDK against a service that watches live RTSP cameras."""

import asyncio
import json

import jsonschema
import openai
import pytest
from one_thing import write_thing_video
from openai.types.responses import ResponseCompletedEvent, ResponseTextDeltaEvent
from rtsp_camera import RtspCamera
from service import running_service

from app.server.keys import ScopedKey, new_key

MASTER = "correct-horse-battery"
NARROW, NARROW_HASH = new_key()
SHAPE = {
    "type": "object",
    "properties": {
        "what": {"enum": ["owl", "burger"]},
        "how_many": {"type": "integer", "minimum": 0, "maximum": 9},
    },
    "required": ["what", "how_many"],
    "additionalProperties": False,
}
ENDLESS = {"type": "array", "items": {"enum": ["owl", "burger"]}, "minItems": 4000}
"""An answer of this shape takes minutes: nothing but being cancelled ends it sooner."""


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cameras")
    scoped = [ScopedKey(name="narrow", hash=NARROW_HASH, streams=("yard",), can={"ask"})]
    with (
        RtspCamera(write_thing_video(folder / "owl.mp4", "owl")) as owl,
        RtspCamera(write_thing_video(folder / "burger.mp4", "burger")) as burger,
        running_service(key=MASTER, scoped=scoped, allow_private=True) as running,
    ):
        for stream_id, camera in (("door", owl), ("yard", burger)):
            running.post("/v1/streams", {"id": stream_id, "source": {"url": camera.url}})
        for stream_id in ("door", "yard"):
            running.await_stream(stream_id, lambda told: told["memory"]["blocks"] >= 4)
        yield running


@pytest.fixture(scope="module")
def client(service):
    with openai.OpenAI(base_url=f"{service.url}/v1", api_key=MASTER, max_retries=0) as made:
        yield made


def asking(text, *streams, kind="text"):
    parts = [{"type": "video_url", "video_url": {"url": f"stream://{one}"}} for one in streams]
    return {"role": "user", "content": [*parts, {"type": kind, "text": text}]}


def ask(client, *messages, **wishes):
    return client.chat.completions.create(model="default", messages=messages, **wishes)


def test_an_answer_streams_with_what_it_rests_on(client, service):
    chunks = list(
        ask(
            client,
            asking("what do you see now?", "door"),
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    words = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
    assert "".join(words) == "an owl"
    assert sum(bool(word) for word in words) > 1, "in one piece"
    (cited,) = [
        chunk.choices[0].delta.annotations
        for chunk in chunks
        if chunk.choices and hasattr(chunk.choices[0].delta, "annotations")
    ]
    assert {(one["type"], one["stream_id"]) for one in cited} == {("video_citation", "door")}
    picture = service.http.get(cited[0]["frame_url"])
    assert float(picture.headers["x-stream-time"]) == pytest.approx(cited[0]["end_s"], abs=1e-3)
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "stop"
    assert chunks[-1].choices == []
    assert chunks[-1].usage.completion_tokens >= 2
    assert len({chunk.id for chunk in chunks}) == 1
    for chunk in chunks:
        chunk.model_dump()


def test_a_whole_answer_is_the_streamed_one(client):
    answer = ask(client, asking("what do you see now?", "door"))
    message = answer.choices[0].message
    assert message.content == "an owl"
    assert {(one.type, one.stream_id) for one in message.annotations} == {
        ("video_citation", "door")
    }
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    assert answer.model_dump()["vstream"][0]["newest_frame_age_s"] < 10
    with client.chat.completions.stream(
        model="default", messages=[asking("what do you see now?", "door")]
    ) as stream:
        assert stream.get_final_completion().choices[0].message.content == "an owl"


def test_several_streams_are_answered_a_line_each_and_cited_apart(client):
    answer = ask(client, asking("what do you see now?", "yard", "door"))
    message = answer.choices[0].message
    assert message.content == "yard: a burger\ndoor: an owl"
    assert {one.stream_id for one in message.annotations} == {"yard", "door"}
    assert [one["stream_id"] for one in answer.vstream] == ["yard", "door"]


def test_an_answer_takes_the_shape_of_a_schema(client):
    wanted = {"type": "json_schema", "json_schema": {"name": "seen", "schema": SHAPE}}
    answer = ask(client, asking("what do you see now?", "door"), response_format=wanted)
    jsonschema.validate(json.loads(answer.choices[0].message.content), SHAPE)
    response = client.responses.create(
        model="default",
        input=[asking("what do you see now?", "door", kind="input_text")],
        text={"format": {"type": "json_schema", "name": "seen", "schema": SHAPE}},
    )
    jsonschema.validate(json.loads(response.output_text), SHAPE)


def test_a_dialogue_goes_on_about_the_same_stream_by_whatever_api(client):
    """However a follow-up is put, the model reads the same and says the same."""
    first = asking("do you see an owl?", "door?to_s=3")
    follow_up = {"role": "user", "content": "what do you see now?"}
    said = ask(client, first).choices[0].message.content
    assert said == "yes"
    chat = ask(client, first, {"role": "assistant", "content": said}, follow_up)
    cited = {(one.stream_id, one.end_s <= 3) for one in chat.choices[0].message.annotations}
    assert cited == {("door", True)}
    before = client.responses.create(model="default", instructions="Be brief.", input=[first])
    assert before.output_text == said
    kept = client.responses.create(
        model="default", previous_response_id=before.id, input=[follow_up]
    )
    carried = client.responses.create(
        model="default", input=[first, *[one.to_dict() for one in before.output], follow_up]
    )
    assert kept.previous_response_id == before.id
    assert kept.output_text == carried.output_text == chat.choices[0].message.content
    read = [kept.usage.input_tokens, carried.usage.input_tokens, chat.usage.prompt_tokens]
    alone = ask(client, asking("what do you see now?", "door?to_s=3"))
    assert len(set(read)) == 1
    assert read[0] == alone.usage.prompt_tokens, "the embedded model reads no earlier turns"


def test_a_limit_is_kept_and_said(client):
    answer = ask(client, asking("what do you see now?", "door"), max_tokens=1)
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage.completion_tokens == 1
    response = client.responses.create(
        model="default", input=[asking("what is there?", "door")], max_output_tokens=1
    )
    assert response.status == "incomplete"
    assert response.incomplete_details.reason == "max_output_tokens"


def test_a_response_is_answered_in_the_background_and_looked_up(client):
    made = client.responses.create(
        model="default",
        input=[asking("what do you see now?", "yard", "door", kind="input_text")],
        background=True,
        metadata={"for": "test"},
    )
    list(client.responses.retrieve(made.id, stream=True))  # to its end
    response = client.responses.retrieve(made.id)
    assert (response.status, response.background) == ("completed", True)
    assert response.output_text == "yard: a burger\ndoor: an owl"
    assert response.metadata == {"for": "test"}
    cited = response.output[0].content[0].annotations
    about = {one.stream_id: response.output_text[one.start_index : one.end_index] for one in cited}
    assert about == {"yard": "yard: a burger", "door": "\ndoor: an owl"}
    assert all(one.url.startswith(f"/v1/streams/{one.stream_id}/frame.jpg?") for one in cited)
    assert response.usage.output_tokens > 0
    response.model_dump()  # what the SDK does not know would warn, which is an error here


def test_the_events_of_a_response_are_the_sdks_own_and_can_be_resumed(client):
    events = list(
        client.responses.create(
            model="default",
            input=[asking("what do you see now?", "door")],
            background=True,
            stream=True,
        )
    )
    for event in events:
        event.model_dump()
    assert [event.sequence_number for event in events] == list(range(len(events)))
    said = "".join(event.delta for event in events if isinstance(event, ResponseTextDeltaEvent))
    last = events[-1]
    assert isinstance(last, ResponseCompletedEvent)
    assert said == last.response.output_text == "an owl"
    response_id = events[0].response.id
    for after in (0, 5, len(events) - 1):
        again = client.responses.retrieve(response_id, stream=True, starting_after=after)
        assert [e.to_dict() for e in again] == [e.to_dict() for e in events[after + 1 :]]
    with client.responses.stream(model="default", input=[asking("who?", "door")]) as stream:
        assert stream.get_final_response().status == "completed"


def test_a_running_response_is_cancelled(client, service):
    stream = client.responses.create(
        model="default",
        input=[asking("what do you see now?", "door")],
        background=True,
        stream=True,
        max_output_tokens=4000,
        text={"format": {"type": "json_schema", "name": "endless", "schema": ENDLESS}},
    )
    response_id = next(stream).response.id
    while next(stream).type != "response.output_text.delta":
        continue
    assert client.responses.retrieve(response_id).status == "in_progress"
    response = client.responses.cancel(response_id)
    assert response.status == "cancelled"
    assert list(stream)[-1].type == "response.cancelled"
    assert 0 < len(response.output_text) < 4000
    response.model_dump()
    assert client.responses.cancel(response_id).status == "cancelled"
    assert service.service.loaded.model.scheduler.num_running == 0
    client.responses.delete(response_id)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(response_id)


def test_what_is_not_to_be_stored_cannot_be_looked_up(client):
    question = [asking("what do you see now?", "door")]
    response = client.responses.create(model="default", input=question, store=False)
    assert response.output_text == "an owl"
    assert response.store is False
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(response.id)
    with pytest.raises(openai.BadRequestError, match="stored"):
        client.responses.create(model="default", input=question, store=False, background=True)


def test_models_are_listed_and_found(client):
    names = [model.id for model in client.models.list()]
    assert names == ["default", "embedded"]
    for name in names:
        assert client.models.retrieve(name).id == name
        answer = client.chat.completions.create(
            model=name, messages=[asking("what is there?", "yard")]
        )
        assert answer.choices[0].message.content == "a burger"
    with pytest.raises(openai.NotFoundError, match="no such model"):
        client.models.retrieve("gpt-5")


def test_many_ask_at_once(service):
    async def all_of_them():
        async with openai.AsyncOpenAI(
            base_url=f"{service.url}/v1", api_key=MASTER, max_retries=0
        ) as client:

            async def said(stream_id):
                text = ""
                async for chunk in await ask(
                    client, asking("what do you see now?", stream_id), stream=True
                ):
                    text += chunk.choices[0].delta.content or ""
                return text

            assert [model.id async for model in client.models.list()] == ["default", "embedded"]
            return await asyncio.gather(*[said(one) for one in ("door", "yard") * 4])

    assert asyncio.run(all_of_them()) == ["an owl", "a burger"] * 4


@pytest.mark.parametrize(
    ("key", "wishes", "kind", "code"),
    [
        ("wrong", {}, openai.AuthenticationError, "invalid_api_key"),
        (NARROW, {"stream": "door"}, openai.NotFoundError, "stream_not_found"),
        (MASTER, {"stream": "nowhere"}, openai.NotFoundError, "stream_not_found"),
        (MASTER, {"model": "gpt-5"}, openai.NotFoundError, "model_not_found"),
        (MASTER, {"n": 2}, openai.BadRequestError, "unsupported_parameter"),
        (MASTER, {"stream": "yard?from=lately"}, openai.BadRequestError, "question_invalid"),
        (MASTER, {"temperature": 7}, openai.UnprocessableEntityError, "invalid_value"),
    ],
    ids=range(7),  # keys are new in every process
)
def test_errors_are_the_sdks_own(service, key, wishes, kind, code):
    wishes = {"model": "default", **wishes}
    messages = [asking("what is there?", wishes.pop("stream", "yard"))]
    with (
        openai.OpenAI(base_url=f"{service.url}/v1", api_key=key, max_retries=0) as client,
        pytest.raises(kind) as caught,
    ):
        client.chat.completions.create(messages=messages, **wishes)
    assert caught.value.code == code
    assert caught.value.type in ("authentication_error", "not_found_error", "invalid_request_error")
