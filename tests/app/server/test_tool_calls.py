"""Tools that a request offers: what the model is shown of them, and its calls."""

import json

import openai
import pytest
from engine import tiny_video_llm
from service import running_service
from shown import image_part, owl_jpeg

from app.server.tool_calls import Offer
from app.server.tool_documents import Tool
from vstream.decoding.token_choice import TokenChoice

CHAT = "/v1/chat/completions"
LIGHT = {
    "type": "function",
    "function": {
        "name": "set_light",
        "description": "Switch a light.",
        "parameters": {
            "type": "object",
            "properties": {"lit": {"type": "boolean"}},
            "required": ["lit"],
            "additionalProperties": False,
        },
    },
}
CLOCK = {"type": "function", "function": {"name": "clock"}}
CALL = '<tool_call>\n{"name": "set_light", "arguments": {"lit": true}}\n</tool_call>'


@pytest.fixture(scope="module")
def service():
    with running_service(model=tiny_video_llm("qwen3_vl")[0]) as running:
        yield running


@pytest.fixture
def says(monkeypatch, service):
    """Let the model say this, token by token, whatever it sees."""

    def say(text):
        chat = service.service.loaded.model.family.chat

        def chosen(choice, _):
            ids = [*chat.token_ids(text), min(chat.stop_ids)]
            token = ids[len(choice._chosen)]
            choice._chosen.append(token)
            return token, 1.0

        monkeypatch.setattr(TokenChoice, "choose", chosen)

    return say


def body(*messages, **wishes):
    content = [image_part(owl_jpeg()), {"type": "text", "text": "light, please"}]
    messages = [{"role": "user", "content": content}, *messages]
    return {"model": "default", "messages": messages, "tools": [LIGHT, CLOCK], **wishes}


def told(service, **wishes):
    return service.post(CHAT, body(**wishes))["choices"][0]


def deltas(service, **wishes):
    client = openai.OpenAI(base_url=f"{service.url}/v1", api_key="none")
    for chunk in client.chat.completions.create(**body(**wishes), stream=True):
        if chunk.choices:
            yield chunk.choices[0]


def test_a_call_is_told_as_openais_clients_read_it(service, says):
    says(CALL)
    choice = told(service)
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["content"] is None
    [call] = choice["message"]["tool_calls"]
    assert call["function"] == {"name": "set_light", "arguments": '{"lit": true}'}
    assert call["type"] == "function"


@pytest.mark.parametrize("text", [CALL, f"It is dark. {CALL}", f"a < b. {CALL}\n{CALL}", "no call"])
def test_a_streamed_answer_is_the_whole_one(service, says, text):
    says(text)
    whole = told(service)
    parts = list(deltas(service))
    words = "".join(part.delta.content or "" for part in parts)
    calls = [call for part in parts for call in part.delta.tool_calls or []]
    assert words.strip() == (whole["message"]["content"] or "")
    assert "tool_call" not in words
    wanted = whole["message"]["tool_calls"] or []
    assert [call.index for call in calls] == list(range(len(wanted)))
    functions = [{"name": c.function.name, "arguments": c.function.arguments} for c in calls]
    assert functions == [call["function"] for call in wanted]
    assert len({call.id for call in calls}) == len(calls) == text.count(CALL)
    assert parts[-1].finish_reason == whole["finish_reason"]


@pytest.mark.parametrize(
    "text",
    [
        '<tool_call>{"name": "rm", "arguments": {}}</tool_call>',
        '<tool_call>{"name": "clock", "arguments": []}</tool_call>',
        "<tool_call>clock()</tool_call>",
        '<tool_call>{"name": "clock", "argu',
    ],
)
def test_what_calls_no_tool_that_is_offered_stays_words(service, says, text):
    says(text)
    choice = told(service)
    assert choice["message"]["content"] == text
    assert choice["message"]["tool_calls"] is None
    assert choice["finish_reason"] == "stop"
    assert "".join(part.delta.content or "" for part in deltas(service)) == text


@pytest.mark.parametrize(
    "choice", ["required", {"type": "function", "function": LIGHT["function"]}]
)
def test_an_answer_that_must_be_a_call_is_one_though_the_weights_are_random(service, choice):
    wanted = body(tools=[LIGHT], tool_choice=choice, max_tokens=200)
    [answer] = service.post(CHAT, wanted)["choices"]
    [call] = answer["message"]["tool_calls"]
    assert call["function"]["name"] == "set_light"
    assert json.loads(call["function"]["arguments"])["lit"] in (True, False)


def test_tools_that_the_caller_forbids_are_not_shown(service):
    def tokens(**wishes):
        answer = service.post(CHAT, body(max_tokens=1, **wishes))
        assert not answer["vstream"][0]["tools_ignored"]
        return answer["usage"]["prompt_tokens"]

    assert tokens() > tokens(tools=[LIGHT]) > tokens(tool_choice="none") == tokens(tools=None)


def test_a_tool_that_is_not_there_cannot_be_wanted(service):
    wanted = body(tool_choice={"type": "function", "function": {"name": "rm"}})
    answer = service.http.post(CHAT, json=wanted)
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "tool_unknown"


@pytest.mark.parametrize("choice", ["auto", "required"])
def test_tools_that_are_too_deep_or_too_long_are_refused(service, choice):
    deep, long = '{"a": ' * 900 + "{}" + "}" * 900, json.dumps({"title": "x" * 100_000})
    for parameters in (deep, long):
        wanted = json.dumps(body(tools=[LIGHT], tool_choice=choice, max_tokens=1))
        wanted = wanted.replace(json.dumps(LIGHT["function"]["parameters"]), parameters)
        answer = service.http.post(
            CHAT, content=wanted, headers={"Content-Type": "application/json"}
        )
        assert answer.status_code == 400
        assert answer.json()["error"]["code"] == "tools_too_large"


def test_half_a_surrogate_pair_in_a_call_is_told(service, says):
    says('<tool_call>{"name": "clock", "arguments": {"of": "\\ud800"}}</tool_call>')
    [call] = told(service)["message"]["tool_calls"]
    assert json.loads(call["function"]["arguments"]) == {"of": "\ud800"}


def test_the_model_reads_what_tools_returned(service, monkeypatch):
    asked = []
    family = type(service.service.loaded.model.family)
    read = family.question

    def noted(own, question, dialogue, **more):
        asked.append((question, dialogue))
        return read(own, question, dialogue, **more)

    monkeypatch.setattr(family, "question", noted)
    call = {"id": "1", "type": "function", "function": {"name": "clock", "arguments": "{}"}}
    calls = {"role": "assistant", "content": "Wait.", "tool_calls": [call]}
    returned = [
        {"role": "tool", "tool_call_id": "1", "content": text} for text in ("noon", "sunny")
    ]
    service.post(CHAT, body(calls, *returned, max_tokens=1))
    (question, [turn]) = asked[-1]
    spelled = '<tool_call>\n{"name": "clock", "arguments": {}}\n</tool_call>'
    assert (turn.question, turn.answer) == ("light, please", f"Wait.\n{spelled}")
    blocks = [f"<tool_response>\n{text}\n</tool_response>" for text in ("noon", "sunny")]
    assert question == "\n".join(blocks)


def test_what_is_spelled_out_as_a_call_is_read_as_it():
    offer = Offer([Tool.model_validate(LIGHT)], "")
    for cut in range(len(CALL)):
        assert offer.settled("a" + CALL[:cut]) == "a"
    words, [call] = offer.read(f"one {CALL} two")
    assert words.split() == ["one", "two"]
    assert json.loads(call.function.arguments) == {"lit": True}
