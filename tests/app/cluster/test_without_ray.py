"""Who asks for no cluster gets none: neither Ray in the service, nor the model in the ingress."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from differences import DIFFERENCES

SERVE = """
import sys
import app.serve
app.serve.run = lambda service, *told: print("served")
sys.argv = ["vstream", "serve", "--no-page", "--port", "0"]
from app.cli import main
main()
"""


def imported(code, *modules):
    """Which of the modules a process has imported in the end."""
    last = f"print([one for one in {modules} if one in sys.modules])"
    code = f"import atexit, sys\natexit.register(lambda: {last})\n{code}"
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    return found.stdout + found.stderr


def test_a_plain_service_never_imports_ray():
    told = imported(SERVE, "ray", "app.cluster", "app.server.service")
    assert "served" in told
    assert "['app.server.service']" in told


def test_the_ingress_has_no_model():
    told = imported("import app.cluster.app", "torch", "ray", "app.cluster.ingress")
    assert "['app.cluster.ingress']" in told


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("--store", "memory://"), "a store that all workers share"),
        (("--store", "redis://127.0.0.1:1", "--host", "0.0.0.0"), "without a key"),
    ],
)
def test_what_a_cluster_cannot_do_is_said_before_it_starts(arguments, why):
    from command_line import vstream

    found = vstream("serve", "--cluster", *arguments)
    assert found.code != 0
    assert why in found.err


def test_what_a_cluster_does_otherwise_is_told_and_little():
    root = Path(__file__).parents[3]
    told = " ".join((root / "docs" / "cluster.md").read_text("utf-8").split())
    reasons = [why for tests in DIFFERENCES.values() for why in tests.values()]
    assert len(reasons) <= 10
    assert [why for why in reasons if why not in told] == []
    for name, tests in DIFFERENCES.items():
        source = (root / "tests" / "app" / "server" / name).read_text("utf-8")
        assert [test for test in tests if f"def {test}(" not in source] == []


def test_the_cluster_alone_knows_ray():
    root = Path(__file__).parents[3]
    knowing = {
        path.parent.relative_to(root).as_posix()
        for package in ("app", "vstream", "memory", "encoders", "eval")
        for path in (root / package).rglob("*.py")
        if re.search(r"^\s*(?:import|from) ray\b", path.read_text("utf-8"), re.MULTILINE)
    }
    assert knowing == {"app/cluster"}
