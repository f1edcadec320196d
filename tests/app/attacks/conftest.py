"""Two services to attack: one with keys over a file store, one that asks for none.

Each starts once, where the first test asks for it. A test leaves them as they were.
"""

import httpx
import pytest
from one_thing import thing_jpeg
from service import running_service

from app.server.keys import ScopedKey, new_key

MASTER = "correct-horse-battery"
SCOPED = {
    "read_a": ("a", "read"),
    "ask_a": ("a", "ask"),
    "push_a": ("a", "push"),
    "manage_b": ("b", "manage"),
}
SHOWN = {"a": "owl", "b": "burger"}
"""What each stream has seen."""


@pytest.fixture(scope="session")
def keys_and_hashes():
    return {name: new_key() for name in SCOPED}


@pytest.fixture(scope="session")
def keys(keys_and_hashes):
    """The keys of `locked` by name: `master`, `read_a`, `ask_a`, `push_a`, `manage_b`."""
    return {"master": MASTER, **{name: key for name, (key, _) in keys_and_hashes.items()}}


@pytest.fixture(scope="session")
def scoped(keys_and_hashes):
    """The scoped keys as a service's configuration holds them, for a test's own service."""
    return [
        ScopedKey(name=name, hash=keys_and_hashes[name][1], streams=(stream,), can={action})
        for name, (stream, action) in SCOPED.items()
    ]


@pytest.fixture(scope="session")
def locked(scoped, tmp_path_factory):
    """A running service with keys, a file store and streams `a` and `b`, which have seen something.

    Its `http` has the master key.
    """
    store = f"file://{tmp_path_factory.mktemp('store')}"
    with running_service(key=MASTER, scoped=scoped, store=store) as service:
        _show(service)
        yield service


@pytest.fixture(scope="session")
def unlocked():
    """The same without keys: blocks in RAM, and addresses on private networks may be named."""
    with running_service(allow_private=True) as service:
        _show(service)
        yield service


@pytest.fixture
def as_caller(locked, keys):
    """Makes a client of `locked` with the key of that name; None: without one."""
    clients = []

    def made(name, timeout_s=60):
        headers = {} if name is None else {"Authorization": f"Bearer {keys[name]}"}
        client = httpx.Client(base_url=locked.url, headers=headers, timeout=timeout_s)
        clients.append(client)
        return client

    yield made
    for client in clients:
        client.close()


def _show(service):
    """Streams `a` and `b`, with two frames in the memory of each."""
    for stream_id, thing in SHOWN.items():
        service.post("/v1/streams", {"id": stream_id, "source": {"type": "push"}})
        for part in (0.2, 0.8):
            pushed = service.http.post(
                f"/v1/streams/{stream_id}/frames", content=thing_jpeg(thing, part)
            )
            assert pushed.is_success, pushed.text
        service.await_stream(stream_id, lambda told: told["memory"]["blocks"])
