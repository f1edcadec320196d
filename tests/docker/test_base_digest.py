""".ci/image, with a docker that writes down what it is told: no image stands on a bare tag."""

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TAG = "python:3.11-slim-bookworm"
DIGEST = "sha256:" + "0123456789abcdef" * 4
OTHER = "sha256:" + "f" * 64
DOCKER = """#!/bin/sh
[ "$1" = buildx ] && { echo "$FOUND"; [ -n "$FOUND" ]; exit; }
printf '%s\\n' "$PWD" "$@" > "$TOLD"
"""


@pytest.fixture
def build(tmp_path):
    """Run CI's file where a registry answers FOUND; what docker was told to build, if anything."""
    docker = tmp_path / "docker"
    docker.write_text(DOCKER)
    docker.chmod(0o755)
    told = tmp_path / "told"

    def run(*arguments, **environment):
        path = {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}", "TOLD": str(told)}
        done = subprocess.run(
            [ROOT / ".ci" / "image", *arguments],
            env={**path, **environment},
            capture_output=True,
            text=True,
        )
        assert (done.returncode == 0) == told.exists(), done.stderr
        return told.read_text().splitlines() if told.exists() else None

    return run


def base_of(told):
    at = len(told) - 1 - told[::-1].index("--build-arg")  # docker takes the last
    return told[at + 1]


def test_the_base_is_what_its_tag_names_now(build):
    told = build("--target", "gpu", "--tag", "one", FOUND=DIGEST)
    assert told[:6] == [str(ROOT), "build", "--target", "gpu", "--tag", "one"]
    assert told[-1] == "."
    assert base_of(told) == f"BASE={TAG}@{DIGEST}"


def test_a_base_of_before_can_be_told(build):
    assert base_of(build(FOUND=DIGEST, BASE_DIGEST=OTHER)) == f"BASE={TAG}@{OTHER}"


def test_nobody_slips_in_a_bare_tag(build):
    told = build("--build-arg", f"BASE={TAG}", FOUND=DIGEST)
    assert base_of(told) == f"BASE={TAG}@{DIGEST}"


@pytest.mark.parametrize(
    "found", ["", "sha256:", TAG, DIGEST[:-1], f"{DIGEST}0", f"{DIGEST}\n{OTHER}"]
)
def test_without_a_digest_nothing_is_built(build, found):
    assert build(FOUND=found) is None
    assert build(FOUND=found, BASE_DIGEST=found or TAG) is None
