"""Every promise in docs/crashes.md names a setting and tests that exist."""

import re
from pathlib import Path

import pytest

from app.server.settings import ServiceSettings

ROOT = Path(__file__).parents[1]
TABLE = (ROOT / "docs" / "crashes.md").read_text("utf-8").partition("## Promises")[2]
ROWS = [line.strip("|").split("|") for line in TABLE.splitlines() if line.startswith("| ")][1:]


def is_setting(name):
    model = ServiceSettings
    for part in name.split("."):
        model = getattr(model, "model_fields", {}).get(part)
        model = model and model.annotation
    return model is not None


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0].strip())
def test_a_promise_has_its_setting_and_its_tests(row):
    promise, fault, setting, tests = (cell.strip() for cell in row)
    assert promise
    assert fault
    names = re.findall(r"`((?:\w+\.)*\w+)`", setting)
    known = [is_setting(name) for name in names if not name.startswith("replicated")]
    assert all(known) or setting.startswith(("`appendfsync", "`vstream "))
    found = re.findall(r"`(tests/[\w/.]+)(?:::(\w+))?`", tests)
    assert found
    for path, test in found:
        assert f"def {test or 'test_'}" in (ROOT / path).read_text("utf-8")
