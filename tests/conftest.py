import os

import pytest

os.environ["HF_HUB_OFFLINE"] = "1"  # no test may reach for the network


@pytest.hookimpl(wrapper=True)
def pytest_terminal_summary(terminalreporter):
    """Where CI=true, a skipped test is a failure: everything it needs must be installed there."""
    yield
    skipped = terminalreporter.stats.get("skipped", [])
    if skipped and os.environ.get("CI") == "true":
        terminalreporter.write_line(f"{len(skipped)} skipped, and CI forbids skips", red=True)


def pytest_sessionfinish(session):
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get("CI") == "true" and reporter.stats.get("skipped"):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
