"""compose.cluster.yaml and the chart: what they start, held to Ray's own code and to ours."""

import json
import re
import shlex
import tomllib
from functools import cache
from pathlib import Path

import jsonschema
import kubernetes_validate
import pytest
import ray
import yaml
from compose_file import load_compose
from helm_chart import render
from ray._common.utils import import_attr
from ray._private import ray_constants
from ray.dashboard.http_server_agent import PUBLIC_EXACT_PATHS
from served_cluster import NODE, from_environment, ray_start, serve_config, served
from setting_variables import KEYS, is_setting

from app.cluster import app as cluster

ROOT = Path(__file__).parents[2]
DOCKER, CHART = ROOT / "docker", ROOT / "docker" / "kubernetes"
SCHEMA = json.loads((ROOT / "tests" / "data" / "kuberay" / "rayservice.json").read_text())
KEY = "a-key-of-many-characters"
COMPOSE = load_compose(
    (DOCKER / "compose.cluster.yaml").read_text(encoding="utf-8"),
    variables={"WORKERS": "3"},
    files={"compose.yaml": (DOCKER / "compose.yaml").read_text(encoding="utf-8")},
)
HEAD, WORKER = COMPOSE.services["head"], COMPOSE.services["worker"]
DOCUMENTS = render(CHART, {"workers": 3, "gpus": 1})
AT = {(one["kind"], one["metadata"]["name"]): one for one in DOCUMENTS}
SERVICE = AT["RayService", "vstream"]["spec"]
CLUSTER = SERVICE["rayClusterConfig"]
GROUPS = {one["groupName"]: one for one in CLUSTER["workerGroupSpecs"]}
GROUPS["head"] = CLUSTER["headGroupSpec"]
PODS = {name: group["template"] for name, group in GROUPS.items()}
STORES = {
    name: AT["StatefulSet", f"vstream-{name}"]["spec"]["template"] for name in ("store", "gcs")
}


def container_of(pod):
    (container,) = pod["spec"]["containers"]
    return container


def environment_of(pod):
    """With the name of its key in place of a secret."""
    found = {}
    for one in container_of(pod)["env"]:
        value = one["value"] if "value" in one else one["valueFrom"]["secretKeyRef"]["key"]
        found[one["name"]] = re.sub(r"\$\((\w+)\)", lambda named: found[named[1]], value)
    return found


@cache
def is_read_by_ray(variable):
    read = (
        "_private/ray_constants.py",
        "_common/usage/usage_constants.py",
        "core/src/ray/raylet/raylet",
    )
    name = rf"\b(RAY_)?{variable.removeprefix('RAY_')}\b".encode()
    return any(re.search(name, (Path(ray.__file__).parent / path).read_bytes()) for path in read)


def assert_known(variables):
    for name in variables:
        is_ray_s = name.startswith("RAY_") and is_read_by_ray(name)
        assert is_ray_s or is_setting(name) or name in KEYS, name


def assert_time_to_end(environment, grace_s):
    """Ray waits for replicas, and whoever stops Ray for Ray."""
    deployed = from_environment({"VSTREAM_MEMORY__STORE": "redis://store"})
    slowest_s = max(one.config["graceful_shutdown_timeout_s"] for one in deployed.values())
    name = "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S"
    assert hasattr(ray_constants, name)
    assert slowest_s < float(environment[name]) < grace_s


def test_the_head_starts_ray_without_work_and_then_the_service():
    assert HEAD.entrypoint == ["sh", "-c"]
    started, command = (shlex.split(part) for part in HEAD.command[0].split(" && exec "))
    assert (started[:2], command[0]) == (["ray", "start"], "vstream")
    options = ray_start(started[2:])
    assert options["head"]
    assert options["num_cpus"] == 0
    assert options["include_dashboard"] is False
    given = {**HEAD.environment, "VSTREAM_API_KEY": KEY}
    deployed = served(*command[1:], environment=given)
    assert deployed["StreamWorker"].config["num_replicas"] == int(WORKER.deploy.replicas) == 3
    assert deployed["Ingress"].at == {"num_cpus": 0, "label_selector": {"ray.io/node-id": NODE}}
    service = deployed["Ingress"].settings.service
    assert service.host == "0.0.0.0"
    assert HEAD.ports == [f"127.0.0.1:8900:{service.port}"]


def test_a_worker_joins_the_head_and_has_room_for_one():
    assert (WORKER.entrypoint, WORKER.command[0]) == (["ray"], "start")
    options = ray_start(WORKER.command[1:])
    assert options["block"]  # so that SIGTERM reaches Ray, which drains
    assert options["address"] == f"head:{ray_constants.DEFAULT_PORT}"
    assert options["address"] == WORKER.environment["RAY_ADDRESS"]
    deployed = from_environment(HEAD.environment | {"VSTREAM_API_KEY": KEY})
    assert options["num_cpus"] == deployed["StreamWorker"].at["num_cpus"] == 1
    assert options["object_store_memory"] < 256 << 20
    assert WORKER.shm_size == "256mb"
    assert WORKER.healthcheck.test[-2] == str(options["dashboard_agent_listen_port"])
    assert WORKER.healthcheck.test[-1] in PUBLIC_EXACT_PATHS
    assert not WORKER.ports
    assert not WORKER.environment["VSTREAM_API_KEY"]


@pytest.mark.parametrize("service", [HEAD, WORKER])
def test_a_container_of_ray_has_the_extra_a_token_and_time_to_end(service):
    assert service.build.args["EXTRAS"] == "cluster"
    assert service.environment["RAY_AUTH_MODE"] == "token"
    assert [file.required for file in service.env_file] == [True]
    assert_known(service.environment.keys() - {"HF_HOME"})
    assert_time_to_end(service.environment, int(service.stop_grace_period.removesuffix("s")))


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda one: one["kind"])
def test_what_is_kubernetes_own_is_valid(document):
    own = [document]
    if document["kind"] == "RayService":
        jsonschema.validate(document, SCHEMA)
        named = {"apiVersion": "v1", "kind": "PodTemplate", "metadata": {"name": "one"}}
        own = [{**named, "template": pod} for pod in PODS.values()]
        own.append({"apiVersion": "v1", "kind": "Service", **SERVICE["serveService"]})
    for one in own:
        kubernetes_validate.validate(one, "1.34", strict=True)


def test_a_pod_can_do_no_more_than_it_must():
    for pod in (PODS | STORES).values():
        assert pod["spec"]["securityContext"]["runAsNonRoot"]
        assert not pod["spec"]["automountServiceAccountToken"]
        security = container_of(pod)["securityContext"]
        assert security["readOnlyRootFilesystem"]
        assert not security["allowPrivilegeEscalation"]
        assert security["capabilities"] == {"drop": ["ALL"]}


def test_version_images_and_stores_are_those_of_package_and_compose():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert chart["version"] == chart["appVersion"] == project["version"]
    uid = PODS["head"]["spec"]["securityContext"]["runAsUser"]
    assert f"USER {uid}:" in (DOCKER / "Dockerfile").read_text()
    assert {container_of(pod)["image"] for pod in PODS.values()} == {HEAD.image}
    store = COMPOSE.services["store"]
    for name, pod in STORES.items():
        container = container_of(pod)
        command = container["command"]
        bound = command.index("--maxmemory") + 1
        assert command[:bound] == store.command[:-1]
        assert command[-2:] == ["--requirepass", "$(REDISCLI_AUTH)"]
        assert container["image"] == store.image
        assert store.user == f"{pod['spec']['securityContext']['runAsUser']}:999"
        (at,) = AT["Service", f"vstream-{name}"]["spec"]["ports"]
        (port,) = container["ports"]
        assert at == {"port": port["containerPort"], "targetPort": port["name"]}


@pytest.mark.parametrize("name", GROUPS)
def test_a_pod_of_ray_starts_is_probed_and_ends_as_ray_does(name):
    """And has the settings that all have: Ray builds the application on any."""
    told = GROUPS[name]["rayStartParams"].items()
    options = ray_start(f"--{option}={value}" for option, value in told)
    assert options["num_cpus"] == (1 if name == "worker" else 0)
    assert CLUSTER["rayVersion"] == ray.__version__
    container, environment = container_of(PODS[name]), environment_of(PODS[name])
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    of_head = {"gcs-server": ray_constants.DEFAULT_PORT, "dashboard": options["dashboard_port"]}
    assert ports == {"head": of_head, "ingress": {"serve": 8900}, "worker": {}}[name]
    alive, ready = (container[f"{kind}Probe"]["httpGet"] for kind in ("liveness", "readiness"))
    assert alive["path"] in PUBLIC_EXACT_PATHS
    assert alive["port"] == options["dashboard_agent_listen_port"]
    assert ready == ({"path": "/ready", "port": "serve"} if name == "ingress" else alive)
    assert environment == environment_of(PODS["head"])
    assert_known(environment.keys() - {"STORE_PASSWORD"})
    assert_time_to_end(environment, PODS[name]["spec"]["terminationGracePeriodSeconds"])


def test_serve_is_told_to_run_what_the_command_runs():
    config = serve_config(yaml.safe_load(SERVICE["serveConfigV2"]))
    assert config.proxy_location == "Disabled"
    (application,) = config.applications
    assert import_attr(application.import_path) is cluster.from_environment
    assert application.route_prefix is None
    given = {**environment_of(PODS["head"]), "VSTREAM_API_KEY": KEY}
    store = given["VSTREAM_MEMORY__STORE"]
    arguments = ("serve", "--cluster", "--workers", "3", "--host", "0.0.0.0", "--store", store)
    found, wanted = (
        from_environment(given),
        served(*arguments, environment={"VSTREAM_API_KEY": KEY}),
    )
    told = {one.name: one.model_dump(exclude_unset=True) for one in application.deployments}
    assert told.keys() == found.keys() == wanted.keys()
    at = {name: one.pop("ray_actor_options") for name, one in told.items()}
    assert at["StreamWorker"] == wanted["StreamWorker"].at | {"num_gpus": 1}
    assert at["Ingress"] == {"num_cpus": 0, "resources": {"ingress": 1}}
    assert GROUPS["ingress"]["resources"] == {"ingress": "1"}
    assert GROUPS["worker"]["replicas"] == told["StreamWorker"]["num_replicas"]
    assert container_of(PODS["worker"])["resources"]["limits"]["nvidia.com/gpu"] == 1
    for name, one in found.items():
        assert one.config | told[name] == {**wanted[name].config, "name": name}
        assert one.settings == wanted[name].settings
        assert one.keys.check(f"Bearer {KEY}")
        assert not one.keys.is_open


def test_a_key_is_one_that_the_docs_make_and_an_address_one_that_is_there():
    made = (ROOT / "docs" / "deployment.md").read_text(encoding="utf-8")
    ((secret, given),) = re.findall(r"create secret generic (\S+)((?:.*\\\n)*.*)", made)
    keys = {(secret, key) for key in re.findall(r"--from-literal=(\w+)=", given)}
    text = json.dumps(DOCUMENTS)
    named = re.findall(r'"secretKeyRef": {"name": "(\w+)", "key": "(\w+)"}', text)
    assert CLUSTER["authOptions"]["mode"] == "token"
    assert {*named, (CLUSTER["authOptions"]["secretName"], "auth_token")} == keys
    assert environment_of(PODS["head"])["VSTREAM_MEMORY__STORE"].endswith("@vstream-store:6379/0")
    assert CLUSTER["gcsFaultToleranceOptions"]["redisAddress"] == "vstream-gcs:6379"


def test_others_reach_the_ingress_and_the_operator_the_head():
    """Of the pods, with the labels that KubeRay gives them."""
    labels = {name: pod["metadata"]["labels"] for name, pod in STORES.items()}
    for name, pod in PODS.items():
        kind = "head" if name == "head" else "worker"
        labels[name] = pod["metadata"]["labels"] | {"ray.io/group": name, "ray.io/node-type": kind}
    ours = {"from": [{"podSelector": {"matchLabels": {"app.kubernetes.io/part-of": "vstream"}}}]}
    let_in = {name: [] for name in labels}
    for policy in (one["spec"] for one in DOCUMENTS if one["kind"] == "NetworkPolicy"):
        for name, own in labels.items():
            if policy["podSelector"]["matchLabels"].items() <= own.items():
                let_in[name] += policy["ingress"]
    assert all(let_in.values())  # and so nobody else
    others = {
        name: [rule for rule in rules if not ours.items() <= rule.items()]
        for name, rules in let_in.items()
    }
    assert others.pop("ingress") == [{"ports": [{"port": 8900}]}]
    (operators,) = others.pop("head")
    assert operators["ports"] == [{"port": ray_start(["--head"])["dashboard_port"]}]
    (operator,) = operators["from"]
    assert operator["podSelector"]["matchLabels"] == {"app.kubernetes.io/name": "kuberay-operator"}
    assert not any(others.values())
    kept = AT["PodDisruptionBudget", "vstream-worker"]["spec"]["selector"]["matchLabels"]
    assert [name for name, own in labels.items() if kept.items() <= own.items()] == ["worker"]
    (port,) = SERVICE["serveService"]["spec"]["ports"]
    assert (port["port"], port["targetPort"]) == (8900, "serve")


@pytest.mark.parametrize("template", ["{{ .Values.imag }}", "{{ .Values.image | quote }}"])
def test_a_template_that_is_not_filled_in_is_refused(tmp_path, template):
    (tmp_path / "templates").mkdir()
    (tmp_path / "values.yaml").write_text("image: one\n")
    (tmp_path / "templates" / "one.yaml").write_text(f"name: {template}\n")
    with pytest.raises((KeyError, ValueError)):
        render(tmp_path)
