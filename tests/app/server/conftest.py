"""With `--cluster N` a service of these tests is an ingress and N workers, over a Redis."""

import itertools
from math import inf

import pytest
import service
from differences import DIFFERENCES


def pytest_collection_modifyitems(config, items):
    """Leave out the tests of what a cluster does otherwise, as its docs say."""
    if config.getoption("--cluster"):
        others = [one for one in items if one.originalname in DIFFERENCES.get(one.path.name, ())]
        items[:] = [one for one in items if one not in others]
        config.hook.pytest_deselected(items=others)


@pytest.fixture(scope="session", autouse=True)
def _in_cluster(request):
    workers = "abcdefgh"[: request.config.getoption("--cluster")]
    if not workers:
        yield
        return
    server, numbers = request.getfixturevalue("running_redis"), itertools.cycle(range(1, 16))

    by_folder = {}

    def store_for(store):
        """An empty one, or what stands for a folder. There are as many as a server has."""
        if store.startswith("redis") or store in by_folder:
            return by_folder.get(store, store)
        number = next(numbers)
        with server.client() as client:
            client.select(number)
            client.flushdb()
        url = f"redis://127.0.0.1:{server.port}/{number}"
        if store != "memory://":
            by_folder[store] = url
        return url

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("app.cluster.worker._GIVE_S", inf)  # none moves under a test
        service.IN_CLUSTER.append(lambda store: (store_for(store), workers))
        yield
        service.IN_CLUSTER.clear()
