"""The compose files and what they mount, with no engine at hand."""

import re
import subprocess
import time
from pathlib import Path

import pytest
import redis
import yaml
from compose_file import LongMount, interpolated, load_compose, variables_of
from image_build import parse_dockerfile
from redis_servers import valkey_binary
from setting_variables import KEYS, is_setting

from vstream.config import load_config
from vstream.sources.address import SourceKind, parse_address

DOCKER = Path(__file__).parents[2] / "docker"
COMPOSE = (DOCKER / "compose.yaml").read_text(encoding="utf-8")
STAGES = parse_dockerfile((DOCKER / "Dockerfile").read_text(encoding="utf-8"))
GPU = (DOCKER / "compose.gpu.yaml").read_text(encoding="utf-8")
ON_RAY = (DOCKER / "compose.cluster.yaml").read_text(encoding="utf-8")
EXAMPLE = dict(re.findall(r"^(\w+)=(.*)$", (DOCKER / ".env.example").read_text(), re.MULTILINE))
FILE = load_compose(COMPOSE, variables=EXAMPLE)
ON_A_CARD = load_compose(COMPOSE, GPU, variables=EXAMPLE)
CLUSTER = load_compose(ON_RAY, variables=EXAMPLE, files={"compose.yaml": COMPOSE})
FILES = {"cpu": FILE, "gpu": ON_A_CARD, "cluster": CLUSTER}

NOT_OURS = {"CI", "HF_HOME", "HF_TOKEN", "RAY_AUTH_TOKEN"}
"""What the libraries read."""
OF_COMPOSE = {
    *("API_PORT", "MEMORY_LIMIT", "STORE_BYTES", "STORE_FSYNC", "STORE_LIMIT", "STREAMS_FILE"),
    *("TORCH_INDEX", "WORKERS"),
}
"""What the compose files alone read."""
services = pytest.mark.parametrize(
    ("file", "name"), [(kind, name) for kind, file in FILES.items() for name in file.services]
)


@services
def test_a_service_can_do_no_more_than_it_must(file, name):
    service = FILES[file].services[name]
    assert service.read_only
    assert "/tmp" in service.tmpfs
    assert service.cap_drop == ["ALL"]
    assert "no-new-privileges:true" in service.security_opt
    assert service.mem_limit
    assert service.pids_limit > 0


def test_the_store_may_rewrite_its_file_within_its_memory():
    store = FILE.services["store"]
    in_use = store.command[store.command.index("--maxmemory") + 1]
    assert in_use.endswith("gb")
    assert store.mem_limit.endswith("g")
    assert int(store.mem_limit[:-1]) >= 2 * int(in_use[:-2])


@services
def test_a_port_is_open_to_this_machine_alone(file, name):
    assert all(port.startswith("127.0.0.1:") for port in FILES[file].services[name].ports)


@services
def test_an_image_of_others_has_a_version(file, name):
    image, _, tag = FILES[file].services[name].image.partition(":")
    assert re.match(r"v?\d", tag) or image == "vstream"


@services
def test_what_a_service_names_is_there(file, name):
    file = FILES[file]
    service = file.services[name]
    assert set(service.networks) <= set(file.networks)
    for other in service.depends_on:
        needed = file.services[other]
        assert not needed.profiles or needed.profiles == service.profiles
    for mount in service.volumes:
        if isinstance(mount, LongMount):
            assert (DOCKER / mount.source).with_suffix(".example.yaml").exists()
        elif mount.startswith("."):
            assert (DOCKER / mount.split(":")[0]).exists()
            assert mount.endswith(":ro")
        else:
            assert mount.split(":")[0] in file.volumes
    if service.build:
        context = (DOCKER / service.build.context).resolve()
        assert context / service.build.dockerfile == DOCKER / "Dockerfile"
        arguments = {step.value.split("=")[0] for s in STAGES.values() for step in s.all("ARG")}
        assert set(service.build.args) <= arguments
        assert service.build.target in STAGES
        kind = service.build.args.get("EXTRAS", service.build.target)
        assert service.image == f"vstream:{kind}"


@pytest.mark.parametrize(
    ("file", "users"), [(FILE, {"api", "ingest"}), (CLUSTER, {"head", "worker"})]
)
def test_only_the_store_is_where_it_is_and_nobody_else_reaches_it(file, users):
    store = file.services["store"]
    assert store.networks == ["memory"]
    assert not store.ports
    assert file.networks["memory"].internal
    reached = {name for name, s in file.services.items() if "memory" in s.networks}
    assert reached == {"store", *users}


@pytest.mark.parametrize(("file", "name"), [(FILE, "api"), (FILE, "ingest"), (CLUSTER, "head")])
def test_a_service_waits_for_the_store_and_stops_in_time(file, name):
    service = file.services[name]
    assert service.depends_on["store"].condition == "service_healthy"
    assert file.services["store"].healthcheck.test
    assert service.stop_grace_period
    config = load_config(memory={"store": service.environment["VSTREAM_MEMORY__STORE"]})
    assert config.memory.store.startswith("redis://store")


@pytest.mark.parametrize("service", [FILE.services["api"], CLUSTER.services["head"]])
def test_the_api_is_probed_where_it_listens(service):
    (probe,) = STAGES["image"].all("HEALTHCHECK")
    (port,) = service.ports
    assert port.split(":")[-1] in probe.value
    assert service.healthcheck is None


def test_the_ingest_daemon_is_probed_and_scraped_where_it_listens():
    ingest = FILE.services["ingest"]
    port = ingest.command[ingest.command.index("--metrics-port") + 1]
    host = ingest.command[ingest.command.index("--metrics-host") + 1]
    assert host == "0.0.0.0"
    assert not ingest.ports
    assert port in ingest.healthcheck.test
    scraped = yaml.safe_load((DOCKER / "prometheus.yml").read_text())["scrape_configs"][0]
    assert set(scraped["static_configs"][0]["targets"]) == {"api:8900", f"ingest:{port}"}


def test_the_ingest_daemon_is_given_the_cameras_read_only_and_no_key():
    ingest = FILE.services["ingest"]
    config = ingest.command[ingest.command.index("--config") + 1]
    (mount,) = [m for m in ingest.volumes if isinstance(m, LongMount)]
    assert mount.target == config
    assert mount.read_only
    assert not mount.bind.create_host_path
    assert ingest.environment["VSTREAM_API_KEY"] == ""


def test_the_card_goes_to_those_who_load_a_model():
    have = {name for name, service in ON_A_CARD.services.items() if service.deploy}
    assert have == {"api", "ingest"}
    assert all(ON_A_CARD.services[name].build.target == "gpu" for name in have)


def test_every_variable_is_explained_and_a_setting():
    named = variables_of(COMPOSE) | variables_of(GPU) | variables_of(ON_RAY)
    assert named <= set(EXAMPLE)
    assert named >= OF_COMPOSE
    settings = set(EXAMPLE) - NOT_OURS - OF_COMPOSE - {"DOOR_PASSWORD"}
    for service in FILE.services.values():
        settings |= {name for name in service.environment if not name.startswith("GF_")}
    assert all(is_setting(name) for name in settings - NOT_OURS - KEYS)


def test_the_example_holds_no_secret_and_settings_that_load(monkeypatch):
    secret = {name for name in EXAMPLE if re.search("KEY|TOKEN|PASSWORD", name)}
    assert secret
    assert not any(EXAMPLE[name] for name in secret)
    for name in set(EXAMPLE) - KEYS:
        monkeypatch.setenv(name, EXAMPLE[name])
    config = load_config()
    assert config.model is None
    assert config.memory.host_bytes == 1 << 30


def test_defaults_stand_in_for_a_missing_env_file():
    assert load_compose(COMPOSE, variables={}).services.keys() == FILE.services.keys()
    assert interpolated("${A:-b} ${C:-d}", {"A": "", "C": "e"}) == "b e"


@pytest.mark.parametrize("name", ["streams.example.yaml", "streams.testcam.yaml"])
def test_the_example_streams_are_cameras(name):
    text = (DOCKER / name).read_text(encoding="utf-8")
    document = yaml.safe_load(interpolated(text, {"DOOR_PASSWORD": "secret"}))
    for stream in document["streams"]:
        address = parse_address(stream["source"]["url"])
        assert address.kind is not SourceKind.FILE
        assert re.fullmatch(r"[\w-]+", stream["id"])
    assert variables_of(text) <= set(EXAMPLE)


def test_the_test_camera_shows_what_is_mounted_at_the_address_given():
    camera = yaml.safe_load((DOCKER / "testcam.yml").read_text(encoding="utf-8"))
    mounts = dict(m.removesuffix(":ro").split(":") for m in FILE.services["testcam"].volumes)
    (path,) = camera["paths"]
    assert f" {mounts['../app/assets/sample_stream.mp4']} " in camera["paths"][path]["runOnInit"]
    assert mounts["./testcam.yml"] == "/mediamtx.yml"
    streams = yaml.safe_load((DOCKER / "streams.testcam.yaml").read_text(encoding="utf-8"))
    assert streams["streams"][0]["source"]["url"] == f"rtsp://testcam:8554/{path}"


def test_the_store_does_not_forget(tmp_path):
    """The command line of the store, run: what the server itself says it was told."""
    program, *options = FILE.services["store"].command
    assert program == "valkey-server"
    socket = tmp_path / "store.sock"
    here = ["--port", "0", "--unixsocket", str(socket), "--dir", str(tmp_path)]
    with (tmp_path / "log").open("wb") as log:
        server = subprocess.Popen([valkey_binary(), *options, *here], stdout=log)
    try:
        with redis.Redis(unix_socket_path=str(socket), decode_responses=True) as client:
            for _ in range(400):
                try:
                    client.ping()
                    break
                except redis.ConnectionError:
                    assert server.poll() is None, (tmp_path / "log").read_text()
                    time.sleep(0.02)
            told = {
                name: client.config_get(name)[name]
                for name in ("maxmemory-policy", "maxmemory", "appendonly", "appendfsync", "save")
            }
    finally:
        server.terminate()
        server.wait()
    assert told == {
        "maxmemory-policy": "noeviction",
        "maxmemory": str(4 << 30),
        "appendonly": "yes",
        "appendfsync": "always",
        "save": "",
    }
