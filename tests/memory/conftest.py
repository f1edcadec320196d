"""Real servers for the stores in Redis: one of each kind for all tests, emptied between them."""

import pytest
from redis_servers import RedisServer, redis_binary, valkey_binary


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
