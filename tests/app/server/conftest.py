"""With `--cluster` a service of these tests is an ingress and two workers, over a Redis."""

import itertools

import pytest
import service


@pytest.fixture(scope="session", autouse=True)
def _in_cluster(request):
    if not request.config.getoption("--cluster"):
        yield
        return
    server, numbers = request.getfixturevalue("running_redis"), itertools.cycle(range(1, 16))

    def new_store():
        """Empty. There are as many as a server has data bases."""
        number = next(numbers)
        with server.client() as client:
            client.select(number)
            client.flushdb()
        return f"redis://127.0.0.1:{server.port}/{number}"

    service.IN_CLUSTER.append(new_store)
    yield
    service.IN_CLUSTER.clear()
