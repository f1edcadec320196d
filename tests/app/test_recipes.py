"""docs/recipes.md, as one who follows it: a service by its file, behind what stands for a recorder,
and what the page says to run against it. What clients send is in test_clients.py.
"""

import json
import re
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from one_thing import write_thing_video
from prometheus_client.parser import text_string_to_metric_families
from recipes_page import CLIENTS, CONFIGS, SERVICE, TEXTS, blocks
from rtsp_camera import RtspCamera
from service import running_service

from app.server.keys import new_key
from app.server.settings import load_settings

BOARD = json.loads(
    (Path(__file__).parents[2] / "docker" / "grafana" / "boards" / "vstream.json").read_text()
)
HOME_ASSISTANT = json.loads(
    (Path(__file__).parents[1] / "data" / "clients" / "homeassistant_llama_cpp.json").read_text()
)
SERVED = "http://vstream:8900"
MASTER = "correct-horse-battery"
CAMERA = "rtsp://user:password@192.168.1.20/stream1"


@pytest.fixture(scope="module")
def keys():
    """Each key of the page's service, and its hash."""
    return {key["name"]: new_key() for key in SERVICE["keys"]}


@pytest.fixture(scope="module")
def settings(keys, tmp_path_factory):
    """As vstream loads the page's file."""
    file = tmp_path_factory.mktemp("recipes") / "streams.yaml"
    file.write_text(TEXTS["streams.yaml"])
    with pytest.MonkeyPatch.context() as environment:
        for name, (_, hashed) in keys.items():
            environment.setenv(f"{name.upper()}_HASH", hashed)
        return load_settings(file)


@pytest.fixture(scope="module")
def service(settings, tmp_path_factory):
    """It watches what the page says, of a recorder that serves on loopback."""
    (door,) = settings.streams
    video = write_thing_video(tmp_path_factory.mktemp("recorder") / "door.mp4", "owl")
    with RtspCamera(video) as recorder:
        told = door.model_dump(mode="json")
        told["source"]["url"] = recorder.url
        with running_service(
            key=MASTER,
            scoped=settings.service.keys,
            model_aliases=settings.service.model_aliases,
            streams=[told],
        ) as running:
            running.await_stream("door", lambda told: told["memory"]["blocks"] > 1)
            yield running


def test_vstream_reads_what_each_recorder_serves(settings):
    (door,) = settings.streams
    at = urlsplit(door.source.url)
    assert (at.scheme, door.source.transport) == ("rtsp", "tcp")
    frigate, go2rtc = CONFIGS["config.yml of Frigate"], CONFIGS["go2rtc.yaml"]
    mediamtx = CONFIGS["mediamtx.yml"]
    name = at.path.removeprefix("/")
    assert frigate["go2rtc"]["streams"][name] == go2rtc["streams"][name] == [CAMERA]
    assert mediamtx["paths"][name] == {"source": CAMERA}
    (read,) = frigate["cameras"][name]["ffmpeg"]["inputs"]
    assert urlsplit(read["path"])[2:] == at[2:]
    assert urlsplit(read["path"]).port == at.port
    assert go2rtc["rtsp"]["listen"] == mediamtx["rtspAddress"] == f":{at.port}"


def test_the_files_of_clients_say_what_the_table_says(settings):
    (frigate,) = (one for name, one in CONFIGS.items() if "descriptions" in name)
    provider = frigate["genai"]["vstream"]
    (endpoint,) = CONFIGS["librechat.yaml"]["endpoints"]["custom"]
    assert provider["provider"] == "openai"
    assert "embeddings" not in provider["roles"]
    assert CLIENTS["Frigate"][0] == provider["base_url"]
    assert CLIENTS["LibreChat"][0] == endpoint["baseURL"]
    for model in (provider["model"], *endpoint["models"]["default"]):
        assert model in settings.service.model_aliases
    assert {key for _, key in CLIENTS.values()} == {key.name for key in settings.service.keys}


def test_a_question_by_the_key_of_one_stream_is_about_it(service, keys):
    """What Home Assistant tries when it is set up: it knows no streams."""
    said = next(one["body"] for one in HOME_ASSISTANT["setup_requests"] if "body" in one)
    about = {}
    for name in ("door", "pictures"):
        by_key = {"Authorization": f"Bearer {keys[name][0]}"}
        about[name] = service.post("/v1/chat/completions", said, headers=by_key)["vstream"]
    assert [one["stream_id"] for one in about["door"]] == ["door"]
    assert "door" not in json.dumps(about["pictures"])


def test_the_code_for_langchain_runs(service, keys, monkeypatch, capsys):
    monkeypatch.setenv("DOOR_KEY", keys["door"][0])
    (code,) = blocks("python")
    assert SERVED in code
    exec(compile(code.replace(SERVED, service.url), "recipes.md", "exec"), {})
    assert "owl" in capsys.readouterr().out


def test_prometheus_finds_all_that_the_board_asks_for(service):
    """After a camera and a question, without a key."""
    service.ask("what do you see?", "stream://door")
    (scraped,) = CONFIGS["prometheus.yml"]["scrape_configs"]
    assert scraped["static_configs"] == [{"targets": [urlsplit(SERVED).netloc]}]
    assert "authorization" not in scraped
    text = httpx.get(f"{service.url}{scraped.get('metrics_path', '/metrics')}").text
    there = {sample.name for one in text_string_to_metric_families(text) for sample in one.samples}
    there |= set(re.findall(r"^# TYPE (\w+)", text, re.MULTILINE))
    targets = [one for panel in BOARD["panels"] for one in panel.get("targets", ())]
    asked = {name for one in targets for name in re.findall(r"\bvstream_\w+", one["expr"])}
    assert len(asked) > 20
    assert {re.sub(r"_(bucket|sum|count)$", "", name) for name in asked - there} <= there
