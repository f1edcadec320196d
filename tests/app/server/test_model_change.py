"""Another model takes over a running service, or does not and the one before answers on."""

import gc
import json
import signal
import threading
import time
import weakref

import httpx
import psutil
import pytest
from fake_hub import fake_hub
from followed import Followed
from one_thing import thing_jpeg
from processes import Process, until
from service import endless, running_service
from tiny_checkpoints import save_tiny_checkpoint, tiny_model

import app.server.service as service_module
from app.client import ServiceClient, ServiceError
from memory import StoreError, stored_ids
from vstream import load_video_llm
from vstream.service.streams import Streams

DOOR = {"id": "door", "source": {"type": "push"}, "sampling": {"fps": 10, "dedup": 0}}
WATCH = {"stream_ids": ["door"], "condition": "tell me when an owl is there", "every_s": 3600}


@pytest.fixture(scope="module")
def embedded():
    return load_video_llm(None)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A folder of checkpoints, good and bad."""
    folder = tmp_path_factory.mktemp("models")
    save_tiny_checkpoint("llava_onevision", folder / "tiny")
    save_tiny_checkpoint("llava_onevision", folder / "broken")
    (folder / "broken" / "model.safetensors").write_bytes(b"no safetensors")
    save_tiny_checkpoint("llava_onevision", folder / "pickled")
    (folder / "pickled" / "model.safetensors").rename(folder / "pickled" / "pytorch_model.bin")
    save_tiny_checkpoint("llava_onevision", folder / "adapter")
    (folder / "adapter" / "adapter_config.json").write_text('{"base_model_name_or_path": "/"}')
    save_tiny_checkpoint("llava_onevision", folder / "wordless")
    (folder / "wordless" / "tokenizer.json").write_text("{}")
    (folder / "empty").mkdir()
    _with_code(folder / "code")
    return folder


def _with_code(directory):
    """A checkpoint of an unknown kind that brings code along, which says so if it is run."""
    save_tiny_checkpoint("llava_onevision", directory)
    config = json.loads((directory / "config.json").read_text())
    classes = {"AutoConfig": "their_code.Config", "AutoModelForImageTextToText": "their_code.Model"}
    config |= {"model_type": "unheard_of", "auto_map": classes}
    (directory / "config.json").write_text(json.dumps(config))
    (directory / "their_code.py").write_text(f"open({str(directory / 'has_run')!r}, 'w').close()\n")


@pytest.fixture
def service(embedded, models):
    with running_service(model=embedded, allow_files=[models]) as running:
        yield running


def changed(service, model, state="done", **more):
    """The document of a change to `model` once it has come to its end."""
    begun = service.post("/v1/models/load", {"model": str(model), **more})
    assert (begun["state"], begun["model"]) == ("loading", str(model))
    return ended(service, state)


def ended(service, state="done"):
    until(lambda: service.get("/v1/models/load")["finished_at"] is not None)
    told = service.get("/v1/models/load")
    assert told["state"] == state, told
    return told


def push(service, count, thing="owl", stream_id="door"):
    """So many frames, each of them encoded."""
    for number in range(count):
        path = f"/v1/streams/{stream_id}"
        before = service.get(path)["memory"]["blocks"]
        picture = thing_jpeg(thing, number / 8)
        assert service.post(f"{path}/frames", content=picture)["accepted"]
        service.await_stream(stream_id, lambda told: told["memory"]["blocks"] > before)  # noqa: B023
        time.sleep(0.11)  # a tick of ten frames a second


def blocks(service, stream_id="door"):
    return service.get(f"/v1/streams/{stream_id}")["memory"]["blocks"]


def cited(service):
    """How many moments an answer about the stream rests on."""
    asked = service.ask("what is there?", "stream://door", max_tokens=2)
    return len(asked["choices"][0]["message"]["annotations"])


def model_of(service):
    default, own = service.get("/v1/models")["data"]
    assert default["fingerprint"] == own["fingerprint"]
    labels = {"model": own["id"], "fingerprint": own["fingerprint"]}
    assert service.figure("vstream_model", **labels) == 1
    assert service.figure("vstream_up") == 1
    assert service.get("/ready")["status"] == "ready"
    return own["id"], own["fingerprint"]


@pytest.fixture(params=["file", "redis"])
def store(request, tmp_path):
    if request.param == "file":
        return f"file://{tmp_path}/store"
    return request.getfixturevalue("redis_server").url


def test_each_model_has_its_own_memory_and_finds_it_again(embedded, models, store):
    tiny = str(models / "tiny")
    with running_service(model=embedded, allow_files=[models], store=store) as service:
        first = model_of(service)
        service.post("/v1/streams", {**DOOR, "context": "A front door."})
        push(service, 3)
        watch = service.post("/v1/watches", WATCH)
        changed(service, tiny)
        second = model_of(service)
        assert (first[0], second[0]) == ("embedded", tiny)
        assert first[1] != second[1]
        door = service.get("/v1/streams/door")
        assert (door["memory"]["blocks"], door["context"]) == (0, "A front door.")
        told = service.get(f"/v1/watches/{watch['id']}")
        assert told["created_at"] == pytest.approx(watch["created_at"])
        push(service, 2)
        assert cited(service) == 2
        assert service.get("/v1/streams")["stored"] == []

        changed(service, "embedded")
        assert model_of(service) == first
        assert (blocks(service), cited(service)) == (3, 3)
        push(service, 1)
        changed(service, tiny)
        assert model_of(service) == second
        assert blocks(service) == 2
        service.post("/v1/streams", {**DOOR, "id": "yard"})
        service.post("/v1/streams", {**DOOR, "id": "gone"})
        service.delete(f"/v1/watches/{watch['id']}")

    with running_service(model=embedded, store=store) as service:  # with the first model
        assert {one["id"] for one in service.get("/v1/streams")["data"]} == {"door", "gone", "yard"}
        assert service.get("/v1/watches")["data"] == []
        assert (blocks(service), blocks(service, "yard")) == (4, 0)
        assert cited(service) == 4
        service.delete("/v1/streams/gone")
        service.delete("/v1/streams/door", params={"purge": True})
        assert {kept.partition(".")[0] for kept in stored_ids(store)} == {"yard", "gone"}


def test_a_stream_that_another_model_made_is_asked_about_by_none_else(embedded, models, tmp_path):
    store = f"file://{tmp_path}"
    with running_service(model=embedded, allow_files=[models], store=store) as service:
        service.post("/v1/streams", DOOR)
        push(service, 1)
        service.delete("/v1/streams/door")
        changed(service, models / "tiny")
        assert service.get("/v1/streams")["stored"] == ["door"]
        question = {"messages": endless("door")["messages"]}
        refused = service.http.post("/v1/chat/completions", json=question)
        assert refused.status_code == 409
        assert refused.json()["error"]["code"] == "stream_made_otherwise"
        taken = {**DOOR, "id": "door.model-0123456789ab"}
        assert service.http.post("/v1/streams", json=taken).status_code == 422


def test_another_dtype_has_a_memory_of_its_own_and_another_device_none(embedded, tmp_path):
    store = f"file://{tmp_path}"
    with running_service(model=embedded, store=store) as service:
        first = model_of(service)
        service.post("/v1/streams", DOOR)
        push(service, 2)
        changed(service, "embedded", dtype="bfloat16")
        assert model_of(service) == first
        assert blocks(service) == 0
        push(service, 1)
        assert cited(service) == 1
        changed(service, "embedded", dtype="float32", device="cpu")
        assert (blocks(service), cited(service)) == (2, 2)
        told = changed(service, "embedded", "failed", device="meta")
        assert "the device 'meta' cannot be used" in told["error"]
        assert cited(service) == 2


def test_streams_of_this_process_alone_go_on_with_nothing_remembered(service, models):
    service.post("/v1/streams", DOOR)
    service.post("/v1/streams", {**DOOR, "id": "paused"})
    service.post("/v1/streams/paused/pause")
    push(service, 2)
    changed(service, models / "tiny")
    assert blocks(service) == 0
    assert service.get("/v1/streams/paused")["state"] == "paused"
    push(service, 1)
    assert cited(service) == 1
    answered = service.post("/v1/search", {"query": "owl", "stream_ids": ["door"]})
    assert len(answered["data"]) == 1


def test_an_old_model_is_let_go(service, models):
    changed(service, models / "tiny")
    there = weakref.ref(service.service.live.model.decoder)
    service.post("/v1/streams", DOOR)
    push(service, 1)
    service.post("/v1/watches", WATCH)
    assert cited(service) == 1
    changed(service, "embedded")
    push(service, 1)
    assert cited(service) == 1
    until(lambda: gc.collect() is not None and there() is None, seconds=15)


def test_answers_have_their_grace_and_are_cut_off(embedded, models):
    with running_service(model=embedded, allow_files=[models], grace_s=3) as service:
        service.post("/v1/streams", DOOR)
        push(service, 1)
        asked = endless("door", stream=True)
        followed = Followed("POST", f"{service.url}/v1/chat/completions", json=asked)
        until(lambda: len(followed.data) > 5)
        service.post("/v1/models/load", {"model": str(models / "tiny")})
        until(lambda: service.http.get("/v1/streams").status_code == 503)
        assert service.get("/v1/models/load")["state"] == "switching"
        refused = service.http.get("/v1/streams")
        assert refused.json()["error"]["code"] == "service_loading"
        assert refused.headers["retry-after"]
        assert service.http.get("/ready").json()["status"] == "loading"
        so_far = len(followed.data)
        until(lambda: followed.has_ended)
        assert len(followed.data) > so_far + 5
        assert json.loads(followed.data[-2])["error"]["code"] == "cancelled"
        ended(service)
        push(service, 1)
        assert cited(service) == 1


@pytest.mark.parametrize(
    ("directory", "words"),
    [
        ("empty", "no checkpoint: it has no config.json"),
        ("not_there", "no checkpoint: it has no config.json"),
        ("broken", "cannot load the checkpoint"),
        ("pickled", "cannot load the checkpoint"),
        ("adapter", "merge it into its model first"),
        ("code", "contains custom code"),
        ("wordless", "cannot use the model"),
    ],
)
def test_a_model_that_cannot_be_loaded_changes_nothing(service, models, directory, words):
    first = model_of(service)
    service.post("/v1/streams", DOOR)
    push(service, 1)
    told = changed(service, models / directory, "failed")
    assert words in told["error"]
    assert "Traceback" not in told["error"]
    assert model_of(service) == first
    assert cited(service) == 1
    assert not (models / directory / "has_run").exists()


def test_a_model_that_cannot_take_over_is_sent_away(embedded, models, tmp_path, monkeypatch):
    monkeypatch.setenv("VSTREAM_ENGINE__SEARCH_LAYERS", "[0, 3]")  # the tiny one has three
    store = f"file://{tmp_path}"
    with running_service(model=embedded, allow_files=[models], store=store) as service:
        first = model_of(service)
        service.post("/v1/streams", DOOR)
        push(service, 2)
        watch = service.post("/v1/watches", WATCH)
        assert "search_layers" in changed(service, models / "tiny", "failed")["error"]
        assert model_of(service) == first
        assert cited(service) == 2
        push(service, 1)
        assert [one["id"] for one in service.get("/v1/watches")["data"]] == [watch["id"]]
        assert {"keep door", "watches"} <= {thread.name for thread in threading.enumerate()}
        assert stored_ids(store) == ["door"]


def test_streams_that_do_not_close_well_go_on_with_the_model_before(service, models, monkeypatch):
    first = model_of(service)
    service.post("/v1/streams", DOOR)
    close = Streams.close

    def fail_once(streams):
        monkeypatch.setattr(Streams, "close", close)
        close(streams)
        raise StoreError("the disk is full")

    monkeypatch.setattr(Streams, "close", fail_once)
    assert "the disk is full" in changed(service, models / "tiny", "failed")["error"]
    assert model_of(service) == first
    push(service, 1)
    assert cited(service) == 1


@pytest.mark.parametrize(
    "name",
    ["/etc", "{models}/../else", "~/x", "./tiny", "../tiny", "a/b/c", "file:///x", "a b", "/\x00"],
)
def test_a_caller_names_no_directory_that_is_not_open_to_it(service, models, name):
    refused = service.http.post("/v1/models/load", json={"model": name.format(models=models)})
    assert refused.status_code == 422
    assert refused.json()["error"]["code"] == "model_forbidden"
    assert service.get("/v1/models/load")["state"] == "idle"


def test_a_name_that_is_no_path_is_never_looked_for_here(service, models, monkeypatch):
    monkeypatch.chdir(models)
    service.post("/v1/models/load", {"model": "tiny"})
    assert "the hub does not give 'tiny'" in ended(service, "failed")["error"]


@pytest.fixture
def hub(models, tmp_path, monkeypatch):
    """A hub that has a checkpoint with weights in several files."""
    directory = tmp_path / "published"
    save_tiny_checkpoint("llava_onevision", directory)
    (directory / "model.safetensors").unlink()
    tiny_model("llava_onevision").save_pretrained(directory, max_shard_size="150KB")
    with fake_hub("org/tiny", directory, monkeypatch, tmp_path / "cache") as serving:
        yield serving


def test_a_download_tells_how_far_it_is(service, hub):
    total = sum(len(content) for content in hub.files.values())
    with ServiceClient(service.url) as client:
        assert client.model_change().state == "idle"
        assert client.load_model("org/tiny").state == "downloading"
        seen = [0]
        for _ in hub.weights:
            until(lambda: client.model_change().done_bytes > seen[-1])
            told = client.model_change()
            assert (told.state, told.total_bytes) == ("downloading", total)
            seen.append(told.done_bytes)
            with pytest.raises(ServiceError) as refused:
                client.load_model("embedded")
            assert (refused.value.status, refused.value.code) == (409, "model_loading")
            assert service.get("/v1/models")["data"][1]["id"] == "embedded"
            hub.let_go()
        assert seen == sorted(seen)
        assert seen[-1] < total
        told = ended(service)
        assert told["done_bytes"] == told["total_bytes"] == total
        assert model_of(service)[0] == "org/tiny"
        client.load_model("org/tiny")  # all of it is here now
        assert ended(service)["total_bytes"] == 0


def test_a_hub_that_does_not_know_a_model_is_told_of(service, hub):
    service.post("/v1/models/load", {"model": "org/nothing"})
    told = ended(service, "failed")
    assert "the hub does not give 'org/nothing'" in told["error"]
    assert "RepositoryNotFoundError" in told["error"]
    assert model_of(service)[0] == "embedded"


def test_a_service_that_ends_waits_for_no_download(embedded, hub):
    with running_service(model=embedded, grace_s=60) as service:
        service.post("/v1/models/load", {"model": "org/tiny"})
        assert hub.asked_for_weights.wait(30)
        began = time.monotonic()
    assert time.monotonic() - began < 5
    assert service.service.changes.told.state == "failed"
    children = psutil.Process().children(recursive=True)
    assert not [one for one in children if "hub_fetch" in " ".join(one.cmdline())]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_process_that_ends_takes_its_download_along(hub, number):
    process = Process("serve", "--port", 0, "--no-page", "--threads", 1, warm="always")
    with httpx.Client(base_url=process.found(r"listening on (\S+)")) as http:
        until(lambda: http.get("/ready").status_code == 200)
        assert http.post("/v1/models/load", json={"model": "org/tiny"}).status_code == 202
        assert hub.asked_for_weights.wait(30)
    downloading = psutil.Process(process.pid).children()
    assert ["hub_fetch" in " ".join(one.cmdline()) for one in downloading] == [True]
    process.send(number)
    assert process.wait(15) == (0 if number == signal.SIGTERM else -signal.SIGKILL)
    until(lambda: not downloading[0].is_running(), seconds=5)
    assert not any("Traceback" in line for line in process.err), process.err


def test_a_service_that_ends_waits_for_weights_as_long_as_for_answers(
    embedded, models, monkeypatch
):
    may_end = threading.Event()

    def load_slowly(directory, **options):
        may_end.wait(60)
        return embedded

    monkeypatch.setattr(service_module, "load_checkpoint", load_slowly)
    with running_service(model=embedded, allow_files=[models], grace_s=1) as service:
        service.post("/v1/streams", DOOR)
        assert service.post("/v1/models/load", {"model": "embedded"})["state"] == "loading"
        began = time.monotonic()
    assert 1 <= time.monotonic() - began < 10
    may_end.set()  # too late
    until(lambda: service.service.changes.told.state == "failed")
    assert not [one for one in threading.enumerate() if one.name == "keep door"]
