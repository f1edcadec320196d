"""With `--cluster N` a service of these tests is an ingress and N workers, over a Redis."""

import itertools
from math import inf

import pytest
import service

DIFFERENCES = {
    "test_answer_log.py": {
        "test_the_log_is_a_file_of_the_services_user": "the log lies in the store",
    },
    "test_bounds.py": {
        "test_an_answer_that_is_cut_off_is_an_error_that_says_so": "another worker goes on with it",
        "test_the_page_of_the_same_process_takes_no_requests_from_others": "there is no page",
    },
    "test_stream_life.py": {
        "test_it_is_told_how_much_time_lies_in_each_tier": "blocks lie in Redis as well",
        "test_an_id_is_used_once_and_streams_are_so_many_at_most": "so many of each worker",
        "test_of_configured_streams_the_configuration_alone_tells": "there is no folder",
    },
}
"""Tests of what a cluster does otherwise, and how: at most ten. docs/cluster.md tells of each."""


def pytest_collection_modifyitems(config, items):
    for item in items if config.getoption("--cluster") else ():
        why = DIFFERENCES.get(item.path.name, {}).get(item.originalname)
        if why is not None:
            item.add_marker(pytest.mark.skip(reason=why))


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
