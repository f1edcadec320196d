"""What existing clients send, as tests/data/clients has it, and what each reads of the answer. For
those on docs/recipes.md the page says where to.
"""

import base64
import json
import re
from pathlib import Path
from urllib.parse import urlsplit

import jsonschema
import pytest
from loopback_http import loopback_http
from one_thing import thing_jpeg, write_thing_video
from recipes_page import CLIENTS as OF_THE_PAGE
from recipes_page import SERVICE
from service import running_service
from shown import encoded

from app.server.keys import ScopedKey, new_key

FOLDER = Path(__file__).parents[2] / "data" / "clients"
CLIENTS = {path.stem: json.loads(path.read_text("utf-8")) for path in sorted(FOLDER.glob("*.json"))}
PICTURED = re.compile(r"<(JPEG|PNG|WEBP|MP4)_(\d+)>")
KEY, HASH = new_key()
MOST_TOKENS = 48
PAGE_NAMES = {
    "frigate_": "Frigate",
    "ha_llmvision_": "LLM Vision",
    "ha_local_openai": "Home Assistant, Local OpenAI LLM",
    "homeassistant_llama_cpp": "Home Assistant, llama.cpp",
    "librechat": "LibreChat",
    "n8n_": "n8n",
}
"""What the page calls the clients whose files begin so."""


def address_of(name, path):
    """Where a client sends what its file has for `path`."""
    found = [address for start, address in PAGE_NAMES.items() if name.startswith(start)]
    if not found:
        return path
    base = urlsplit(OF_THE_PAGE[found[0]][0]).path
    rest = path.removeprefix("/v1")
    return base if base.endswith(rest) else base + rest


@pytest.fixture(scope="module")
def media(tmp_path_factory):
    """What stands for each placeholder, in base64."""
    jpegs = [thing_jpeg("owl", part) for part in (0.2, 0.4, 0.6, 0.8)]
    video = write_thing_video(tmp_path_factory.mktemp("clip") / "owl.mp4", "owl", seconds=4)
    found = {"MP4_1": video.read_bytes(), "WEBP_1": encoded(jpegs[0], "WEBP")}
    for number, jpeg in enumerate(jpegs, start=1):
        found |= {f"JPEG_{number}": jpeg, f"PNG_{number}": encoded(jpeg, "PNG")}
    return {name: base64.b64encode(data).decode() for name, data in found.items()}


@pytest.fixture(scope="module")
def pictures():
    """A web server with a picture."""
    with loopback_http(lambda request: (200, {}, thing_jpeg("owl"))) as server:
        yield server.url


@pytest.fixture(scope="module")
def service():
    """It watches nothing, as one that only serves such clients; they must give a key."""
    key = ScopedKey(name="clients", hash=HASH, can={"ask"})
    names = [*SERVICE["model_aliases"], "gpt-4o-mini"]
    with running_service(
        key="correct-horse-battery", scoped=[key], model_aliases=names, allow_private=True
    ) as running:
        running.http.headers["Authorization"] = f"Bearer {KEY}"
        yield running


@pytest.fixture(scope="module")
def filled(media, pictures):
    """A body with pictures in place of what stands for them."""

    def made(body):
        text = PICTURED.sub(lambda match: media[f"{match[1]}_{match[2]}"], json.dumps(body))
        return json.loads(text.replace("https://example.com", pictures))

    return made


def read_chat(response, body):
    """What clients read of a chat's answer: its text, and why it ended."""
    assert response.status_code == 200, response.text
    assert response.headers["content-type"].partition(";")[0] == (
        "text/event-stream" if body.get("stream") else "application/json"
    )
    if not body.get("stream"):
        told = response.json()
        assert told["usage"]["prompt_tokens"] > 0
        message = told["choices"][0]["message"]
        assert message["role"] == "assistant"
        return message["content"], told["choices"][0]["finish_reason"]
    lines = [line.removeprefix("data: ") for line in response.text.split("\n\n") if line]
    assert lines[-1] == "[DONE]"
    chunks = [json.loads(line) for line in lines[:-1]]
    with_usage = (body.get("stream_options") or {}).get("include_usage")
    assert [not chunk["choices"] for chunk in chunks].count(True) == bool(with_usage)
    assert with_usage is None or chunks[-1]["usage"]["completion_tokens"] > 0
    choices = [chunk["choices"][0] for chunk in chunks if chunk["choices"]]
    assert choices[0]["delta"]["role"] == "assistant"
    text = "".join(choice["delta"].get("content") or "" for choice in choices)
    return text, choices[-1]["finish_reason"]


def read_response(response, body):
    """The same of /v1/responses."""
    assert response.status_code == 200, response.text
    told = response.json() if not body.get("stream") else None
    if told is None:
        events = [
            json.loads(line[6:]) for line in response.text.split("\n") if line[:6] == "data: "
        ]
        kinds = [event["type"] for event in events]
        assert kinds[-1] in ("response.completed", "response.incomplete")
        assert "response.output_text.delta" in kinds
        told = events[-1]["response"]
    assert told["usage"]["output_tokens"] > 0
    (item,) = told["output"]
    is_cut = told["status"] == "incomplete"
    return item["content"][0]["text"], "length" if is_cut else "stop"


def schema_of(body):
    told = body.get("response_format") or (body.get("text") or {}).get("format") or {}
    return (told.get("json_schema") or told).get("schema")


def require_answered(service, path, body):
    """The embedded model never ends a string whose length has no bound: there it is cut off, sooner
    than the client would have it.
    """
    read = read_response if path.endswith("/responses") else read_chat
    schema = schema_of(body)
    for name in ("max_tokens", "max_completion_tokens", "max_output_tokens"):
        if name in body:
            body = {**body, name: min(MOST_TOKENS, body[name])}
    is_endless = schema is not None and has_endless(schema)
    if is_endless:
        body = {"max_tokens": MOST_TOKENS, **body}
    text, ended = read(service.http.post(path, json=body), body)
    assert text.strip()
    assert ended in ("stop", "length")
    if schema and not is_endless:
        assert ended == "stop", "JSON that is cut off is worth nothing"
        jsonschema.validate(json.loads(text), schema)


def has_endless(schema):
    """Whether it asks for a string without bound."""
    kinds = schema.get("type")
    if "string" in ([kinds] if isinstance(kinds, str) else kinds or ()):
        return "maxLength" not in schema
    parts = [schema["properties"][name] for name in schema.get("required", ())]
    parts += [schema["items"]] if "items" in schema else schema.get("anyOf", [])
    return any(has_endless(part) for part in parts)


@pytest.mark.parametrize("name", sorted(set(CLIENTS) - {"lmms_eval_openai_video_url"}))
def test_a_client_is_answered(service, filled, name):
    """By set-up, questions and what follows them."""
    sent = CLIENTS[name]
    where = address_of(name, sent["path"])
    first = None
    for one in sent.get("setup_requests", ()):
        if one["path"] == "/models":
            listed = service.get(address_of(name, "/v1/models"))["data"]
            assert {"vstream", "gpt-4o-mini"} <= {model["id"] for model in listed}
            assert all(model["max_model_len"] > 0 for model in listed)
        else:
            body = one["body"] if isinstance(one["body"], dict) else {**first, "stream": True}
            first = first or body
            require_answered(service, address_of(name, "/v1" + one["path"]), body)
    require_answered(service, where, filled(sent["body"]))
    for one in sent.get("follow_up_requests", ()):
        require_answered(service, where, filled(one["body"]))


def test_every_client_of_the_page_has_a_file():
    assert set(PAGE_NAMES.values()) == set(OF_THE_PAGE)
    assert all(any(name.startswith(start) for name in CLIENTS) for start in PAGE_NAMES)


def test_without_v1_it_is_the_same(service, filled):
    body = filled(CLIENTS["live_vlm_webui"]["body"])
    assert service.get("/models") == service.get("/v1/models")
    assert service.get("/models/vstream")["id"] == "vstream"
    require_answered(service, "/chat/completions", body)
    require_answered(service, "/responses", filled(CLIENTS["n8n_analyze_image_v2"]["body"]))
    for path in ("/models", "/chat/completions"):
        told = service.http.request(
            "POST" if "chat" in path else "GET", path, json=body, headers={"Authorization": ""}
        )
        assert told.status_code == 401, "the key is needed there as well"


@pytest.mark.parametrize("path", ["/", "/v1"])
def test_a_base_url_alone_says_where_to_post(service, filled, path):
    told = service.http.post(path, json=filled(CLIENTS["live_vlm_webui"]["body"]))
    assert told.status_code == 404
    assert "/v1" in told.json()["error"]["message"]


def test_a_file_of_the_server_is_not_read(service):
    told = service.http.post(
        "/v1/chat/completions", json=CLIENTS["lmms_eval_openai_video_url"]["body"]
    )
    assert told.status_code == 422
    assert told.json()["error"]["code"] == "SOURCE_FORBIDDEN"


def test_tools_are_left_out_and_that_is_said(service):
    tools = CLIENTS["homeassistant_llama_cpp"]["setup_requests"][1]["body"]
    plain = {**tools, "tools": None}
    told, without = (service.post("/v1/chat/completions", one) for one in (tools, plain))
    assert told["choices"] == without["choices"]
    assert told["vstream"][0]["tools_ignored"]
    assert not without["vstream"][0]["tools_ignored"]
