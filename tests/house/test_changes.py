"""What a change costs: patches that add one thing each, applied to a copy and tested there."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def apply(patch, copy):
    """A copy of the tracked files with `patch` of this folder; the files that it touches."""
    tracked = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout
    for name in filter(None, tracked.split("\0")):
        if (ROOT / name).exists():  # one may be deleted and not yet committed
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, copy / name)
    patch = Path(__file__).with_name(f"{patch}.patch")
    subprocess.run(["git", "init", "-q"], cwd=copy, check=True)  # else it is another's subfolder
    subprocess.run(["git", "apply", patch], cwd=copy, check=True)
    lines = patch.read_text().splitlines()
    return {line.removeprefix("+++ b/") for line in lines if line.startswith("+++ b/")}


def run_tests(copy, *which):
    """Run tests of the copy, also one of this folder that is none without its patch."""
    environment = {**os.environ, "PYTHONPATH": str(copy)}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *which]
    return subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True)


EVERY_FAMILY = ("tests/encoders/test_families.py", "tests/vstream/test_streaming_equals_offline.py")


@pytest.mark.parametrize(
    ("patch", "touched", "tests"),
    [
        (
            "policy",
            {"memory/policies/first_and_newest.py"},
            ["tests/vstream/test_every_policy.py", "-k", "first_and_newest"],
        ),
        (
            "family",
            {"encoders/families/qwen2_vl.py", "tests/encoders/families/test_qwen2_vl.py"},
            ["tests/encoders/families/test_qwen2_vl.py", *EVERY_FAMILY, "-k", "qwen2_vl"],
        ),
        (
            "answer_field",
            {"vstream/answer.py", "vstream/question.py"},
            ["tests/house/answer_field.py"],
        ),
        (
            "tier",
            {"memory/tiers/zipped/__init__.py"},
            ["tests/memory/test_block_stores.py", "-k", "zipped"],
        ),
    ],
)
def test_a_change_touches_few_files_and_works(patch, touched, tests, tmp_path):
    assert apply(patch, tmp_path) == touched
    done = run_tests(tmp_path, *tests)
    assert done.returncode == 0, done.stdout + done.stderr
