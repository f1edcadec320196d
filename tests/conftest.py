"""For all tests: no network, no skips where CI=true, and real Redis and Valkey servers."""

import functools
import gc
import os

import hypothesis  # noqa: F401  its plugin loads it at the end, when Python 3.11 fails after Gradio
import pytest
import structlog
import warm_start
import warm_worker
from browsers_in_turn import BrowsersInTurn
from httpx._transports import default as transports
from hypothesis import HealthCheck, settings
from object_stores import ObjectStore, S3Server
from redis_servers import RedisServer, redis_binary, valkey_binary

from memory import locks

os.environ["HF_HUB_OFFLINE"] = "1"  # no test may reach for the network
# Tests run side by side already, and a sum's last digit depends on the number of threads: what is
# computed in this process and in those that a test starts is to be the same.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Clients read the certificates once: it takes each of them 40 ms, and most speak HTTP.
transports.create_ssl_context = functools.cache(transports.create_ssl_context)

locks.check_order()  # before any module of ours makes a lock

# Beside other work any example may be slow.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")


def pytest_addoption(parser):
    parser.addoption("--kills", type=int, default=5, help="how often test_crashes.py kills")
    parser.addoption("--mutations", type=int, default=200, help="of test_mutated_media.py")
    parser.addoption(
        "--cluster", type=int, default=0, help="workers of each service in tests/app/server"
    )
    parser.addoption(
        "--minutes",
        type=float,
        default=1,
        help="how long test_load.py and test_camera_soak.py measure",
    )
    parser.addoption("--hours", type=float, default=24, help="how much test_day.py pushes")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes(specs):
    """Processes side by side, and those that tests start, are forked off one that has imported."""
    warm_start.serve()
    for spec in specs:
        spec.python = warm_worker.as_python()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    return BrowsersInTurn(config, log) if config.getvalue("dist") == "loadfile" else None


@pytest.hookimpl(wrapper=True)
def pytest_terminal_summary(terminalreporter):
    """Where CI=true, a skipped test is a failure: everything it needs must be installed there."""
    yield
    skipped = terminalreporter.stats.get("skipped", [])
    if skipped and os.environ.get("CI") == "true":
        terminalreporter.write_line(f"{len(skipped)} skipped, and CI forbids skips", red=True)


def pytest_sessionfinish(session):
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None:  # a process beside others: the one that leads them counts
        return
    if os.environ.get("CI") == "true" and reporter.stats.get("skipped"):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_collectstart():
    """PyTorch is loaded first by the main thread: a service under test loads its model in another.
    Who only leads processes side by side collects nothing, and does without."""
    import torch  # noqa: F401


@pytest.hookimpl(trylast=True)
def pytest_collection_finish():
    """A collection looks through what tests make, not through all that they have imported."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _locks_in_order():
    """Whoever takes a lock too early is stopped, but may have caught what stopped it."""
    yield
    found, locks.violations[:] = locks.violations[:], []
    assert not found, found[0]


@pytest.fixture(autouse=True)
def _plain_logs():
    """Commands that run in the tests' own process say what is logged and how, for all to come."""
    yield
    structlog.reset_defaults()


@pytest.fixture
def load_minutes(request):
    return request.config.getoption("--minutes")


@pytest.fixture
def load_hours(request):
    return request.config.getoption("--hours")


@pytest.fixture(scope="session")
def running_redis(tmp_path_factory):
    if redis_binary() is None:
        pytest.skip("no redis-server on PATH: apt-get install redis-server")
    server = RedisServer(redis_binary(), tmp_path_factory.mktemp("redis"))
    yield server
    server.stop()


@pytest.fixture(scope="session")
def running_valkey(tmp_path_factory):
    server = RedisServer(valkey_binary(), tmp_path_factory.mktemp("valkey"))
    yield server
    server.stop()


@pytest.fixture
def redis_server(running_redis):
    with running_redis.client() as client:
        client.flushall()
    return running_redis


@pytest.fixture
def valkey_server(running_valkey):
    with running_valkey.client() as client:
        client.flushall()
    return running_valkey


@pytest.fixture
def object_server(tmp_path):
    return ObjectStore(f"object://{tmp_path}/objects?local={tmp_path}/open")


@pytest.fixture(scope="session")
def running_s3():
    pytest.importorskip("moto.server", reason="no moto: pip install 'moto[s3]' flask flask-cors")
    server = S3Server()
    yield server
    server.stop()


@pytest.fixture
def s3_server(running_s3, tmp_path):
    return ObjectStore(f"s3://{running_s3.new_bucket()}/streams?local={tmp_path}/open")
