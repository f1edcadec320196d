"""The Dockerfile, with no engine at hand: its form, and its steps as far as they are Python."""

import re
import shutil
import subprocess
import sys
import threading
import tomllib
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import torch
from constraints_lock import LOCK, PYTHON
from image_build import Dockerignore, ImageBuild, lineage, parse_dockerfile

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docker" / "Dockerfile").read_text(encoding="utf-8")
STAGES = parse_dockerfile(TEXT)
IGNORE = Dockerignore((ROOT / ".dockerignore").read_text(encoding="utf-8"))
LIBRARY = {"app", "encoders", "eval", "memory", "vstream"}
BY_HASH = "--require-hashes --constraint constraints.lock"


@pytest.fixture(scope="module")
def context(tmp_path_factory):
    """What the builder would be sent: the files of this repository that .dockerignore lets by."""
    folder = tmp_path_factory.mktemp("context")
    tops = sorted(LIBRARY) + ["docker"] + [path.name for path in ROOT.iterdir() if path.is_file()]
    for top in tops:
        for path in [ROOT / top, *(ROOT / top).rglob("*")]:
            name = path.relative_to(ROOT).as_posix()
            if path.is_file() and IGNORE.keeps(name):
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, folder / name)
    return folder


@pytest.fixture(scope="module")
def image(tmp_path_factory, context):
    """The cpu image; pip checks the libraries, lent to it, against what the Dockerfile asks for."""
    return ImageBuild(tmp_path_factory.mktemp("image"), context, STAGES).stage("cpu")


@pytest.mark.parametrize("extras", ["", "cluster,objects"])
def test_the_libraries_are_those_of_the_package(tmp_path, context, extras):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    stage = ImageBuild(tmp_path, context, STAGES, EXTRAS=extras).stage("requirements")
    added = [project["optional-dependencies"][name] for name in extras.split(",") if name]
    assert stage.run("cat requirements.txt").splitlines() == sum(added, project["dependencies"])


def test_the_installed_package_is_the_wheel_and_brings_weights_and_sample(image):
    where = "from importlib.util import find_spec as f; print(f('app').origin, f('vstream').origin)"
    found = image.run(f'cd / && python -c "{where}"').split()
    app, vstream = (Path(path).resolve().parent for path in found)
    assert vstream.is_relative_to(Path(image.inside("/opt/vstream")).resolve())
    assert (app / "assets" / "sample_stream.mp4").stat().st_size > 0
    assert list((vstream / "models" / "weights" / "embedded").glob("*.safetensors"))
    weights = [*vstream.parent.rglob("*.safetensors"), *vstream.parent.rglob("*.pt")]
    assert all(path.is_relative_to(vstream / "models" / "weights" / "embedded") for path in weights)


def test_a_gpu_image_is_refused_a_torch_without_cuda(image):
    (check,) = STAGES["gpu"].all("RUN")
    if torch.version.cuda:
        image.run(check.value)
    else:
        with pytest.raises(AssertionError, match="TORCH_INDEX gave a torch without CUDA"):
            image.run(check.value)


@pytest.mark.parametrize("index", ["", "file:///torch"])
def test_torch_alone_comes_from_the_index_that_is_given(index):
    first, second = [s.value for s in STAGES["dependencies"].all("RUN") if "pip install" in s.value]
    said = subprocess.run(
        ["sh", "-c", first.replace("pip install", "echo")],
        env={"TORCH_INDEX": index},
        capture_output=True,
        text=True,
        check=True,
    )
    given = f" --index-url {index}" if index else ""
    assert said.stdout.strip() == f"{BY_HASH} --no-deps{given} torch"
    assert "index" not in second


def test_nothing_is_installed_but_by_its_hash():
    runs = [step.value for stage in STAGES.values() for step in stage.all("RUN")]
    installs = [value for value in runs if re.search(r"pip (install|wheel)", value)]
    by_hash = [value for value in installs if "--require-hashes" in value]
    others = [value for value in installs if value not in by_hash]
    assert len(by_hash) == 4
    assert [("--no-index" in one, "--no-build-isolation" in one) for one in others] == [
        (False, True),
        (True, False),
    ]


def test_pip_itself_comes_by_its_hash(tmp_path):
    (step,) = [s.value for s in STAGES["pip"].all("RUN") if "pip.txt" in s.value]
    shutil.copy(LOCK, tmp_path)
    subprocess.run(["sh", "-c", step.replace("pip install", ":")], cwd=tmp_path, check=True)
    first, *hashes = (tmp_path / "pip.txt").read_text().splitlines()
    assert first.startswith("pip==")
    assert hashes
    assert all(line.startswith("    --hash=sha256:") for line in hashes)


def test_the_base_has_the_python_of_the_lock():
    assert re.search(r"^ARG BASE=python:{}\.{}-slim-bookworm$".format(*PYTHON), TEXT, re.MULTILINE)


def test_what_is_copied_exists(context):
    copied = [step for stage in STAGES.values() for step in stage.all("COPY")]
    for step in copied:
        if "from" in step.flags:
            assert step.flags["from"] in STAGES
        else:
            assert all((context / source).exists() for source in step.words[:-1]), step.value


def test_the_source_comes_after_the_libraries():
    for name in ("requirements", "dependencies"):
        sources = {step.words[0] for step in STAGES[name].all("COPY")}
        assert not sources & LIBRARY
    steps = STAGES["image"].steps
    libraries = next(i for i, step in enumerate(steps) if step.flags.get("from") == "dependencies")
    wheel = next(i for i, step in enumerate(steps) if "/wheels" in step.value)
    assert libraries < wheel


@pytest.mark.parametrize("target", ["cpu", "gpu"])
def test_an_image_is_what_compose_and_its_users_rely_on(target):
    steps = lineage(STAGES, target)
    last = {step.name: step for step in steps}
    uid, gid = last["USER"].value.split(":")
    assert int(uid) >= 1000
    assert int(gid) >= 1000
    assert f"--uid {uid} " in TEXT
    assert last["STOPSIGNAL"].value == "SIGTERM"
    assert last["ENTRYPOINT"].words == ["vstream"]
    assert last["CMD"].words[:3] == ["serve", "--host", "0.0.0.0"]
    assert set(last["VOLUME"].words) == {"/data", "/cache/huggingface"}
    assert last["EXPOSE"].value in last["CMD"].words
    assert last["EXPOSE"].value in last["HEALTHCHECK"].value
    assert "curl" not in TEXT


def test_the_default_target_is_the_cpu():
    assert list(STAGES)[-1] == "cpu"


def test_no_index_and_no_secret_is_written_down():
    commands = [step.value for stage in STAGES.values() for step in stage.steps]
    assert not [value for value in commands if re.search(r"https?://|index-url \w", value)]
    variables = re.findall(r"^(?:ARG|ENV) .*|^    [A-Z_]+=.*", TEXT, re.MULTILINE)
    assert not [line for line in variables if re.search("KEY|TOKEN|PASSWORD|SECRET", line)]


@pytest.mark.parametrize(
    "path",
    [
        ".git/config",
        ".venv/bin/python",
        "docker/.env",
        "docker/streams.yaml",
        "runs/train/model.safetensors",
        "tests/conftest.py",
        "vstream/__pycache__/config.cpython-311.pyc",
    ],
)
def test_the_builder_is_not_sent(path):
    assert not IGNORE.keeps(path)


def test_the_builder_is_sent_the_source():
    assert IGNORE.keeps("vstream/config.py")
    assert IGNORE.keeps("docker/probe.py")


@pytest.fixture(params=[200, 503])
def server(request):
    class Answer(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(request.param if self.path == "/ready" else 404)
            self.end_headers()

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield request.param, server.server_port
        server.shutdown()
        thread.join()


def probe(port, path="/ready"):
    return subprocess.run(
        [sys.executable, ROOT / "docker" / "probe.py", str(port), path],
        capture_output=True,
        text=True,
        env={"http_proxy": "http://127.0.0.1:9"},  # a probe that asks it finds nobody
    )


def test_the_probe_tells_ready_from_not_ready(server):
    status, port = server
    done = probe(port)
    assert (done.returncode == 0) == (status == 200)
    assert probe(port, "/nowhere").returncode == 1
    assert "Traceback" not in done.stderr


def test_the_probe_fails_where_nobody_listens():
    done = probe(0)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
