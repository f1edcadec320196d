"""What a change costs: patches that add one thing each, applied to a copy and tested there.

No two touch the same file, so one copy has them all, and one process runs the tests of all.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
import warm_start

ROOT = Path(__file__).parents[2]


class Change(NamedTuple):
    """Files that a patch of this folder touches; tests of it, which have this in their names."""

    touched: set[str]
    tests: list[str]
    called: str


EVERY_FAMILY = ("tests/encoders/test_families.py", "tests/vstream/test_streaming_equals_offline.py")
CHANGES = {
    "policy": Change(
        {"memory/policies/first_and_newest.py"},
        ["tests/vstream/test_every_policy.py"],
        "first_and_newest",
    ),
    "family": Change(
        {"encoders/families/qwen2_vl.py", "tests/encoders/families/test_qwen2_vl.py"},
        ["tests/encoders/families/test_qwen2_vl.py", *EVERY_FAMILY],
        "qwen2_vl",
    ),
    "answer_field": Change(
        {"vstream/answer.py", "vstream/question.py"},
        ["tests/house/answer_field.py"],  # none without its patch
        "answer_field",
    ),
    "tier": Change(
        {"memory/tiers/zipped/__init__.py"}, ["tests/memory/test_block_stores.py"], "zipped"
    ),
}


def patch_of(name):
    return Path(__file__).with_name(f"{name}.patch")


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """The tests of all changes, run in a copy of the tracked files with all patches."""
    copy = tmp_path_factory.mktemp("changed")
    tracked = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout
    for name in filter(None, tracked.split("\0")):
        if (ROOT / name).exists():  # one may be deleted and not yet committed
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, copy / name)
    subprocess.run(["git", "init", "-q"], cwd=copy, check=True)  # else it is another's subfolder
    subprocess.run(["git", "apply", *map(patch_of, CHANGES)], cwd=copy, check=True)
    environment = {**os.environ, "PYTHONPATH": str(copy)}
    environment.pop(warm_start.ADDRESS, None)  # which has imported what is not changed
    which = [test for change in CHANGES.values() for test in change.tests]
    called = " or ".join(change.called for change in CHANGES.values())
    command = [sys.executable, "-m", "pytest", "-v", "-p", "no:cacheprovider", *which, "-k", called]
    return subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True)


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_touches_few_files_and_works(name, done):
    lines = patch_of(name).read_text().splitlines()
    touched = {line.removeprefix("+++ b/") for line in lines if line.startswith("+++ b/")}
    assert touched == CHANGES[name].touched
    assert done.returncode == 0, done.stdout + done.stderr
    ran = [line for line in done.stdout.splitlines() if " PASSED " in line]
    for test in CHANGES[name].tests:
        assert any(line.startswith(test) and CHANGES[name].called in line for line in ran), test
