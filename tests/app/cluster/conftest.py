"""A Redis in a network of its own, for a Ray in it."""

import pytest
from own_network import own_network
from redis_servers import RedisServer, redis_binary


@pytest.fixture(scope="module")
def redis(tmp_path_factory):
    pytest.importorskip("ray", reason="no Ray: pip install 'vstream[cluster]'")
    if redis_binary() is None:
        pytest.skip("no redis-server on PATH: apt-get install redis-server")
    with own_network():
        server = RedisServer(redis_binary(), tmp_path_factory.mktemp("redis"))
        yield server
        server.stop()
