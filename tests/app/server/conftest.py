"""With `--cluster N` a service of these tests is an ingress and N workers, over a Redis."""

import itertools

import pytest
import service


@pytest.fixture(scope="session", autouse=True)
def _in_cluster(request):
    workers = "abcdefgh"[: request.config.getoption("--cluster")]
    if not workers:
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

    service.IN_CLUSTER.append(lambda: (new_store(), workers))
    yield
    service.IN_CLUSTER.clear()
