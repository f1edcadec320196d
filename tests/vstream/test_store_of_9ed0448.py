"""Streams that were written at commit 9ed0448, before memory policies, open and answer the same.

`tests/data/store_9ed0448` holds a tiny random checkpoint, four streams of 28 frames as files, a
dump of the Redis keys of two of them, and what that commit answered; its `write.py` made all of it.
"""

import base64
import json
import shutil
from pathlib import Path

import pytest
import redis
from redis_servers import RedisServer, redis_binary

from vstream import Question, VStreamConfig, load_video_llm, open_session
from vstream.stream_reader import open_reader

STORE = Path(__file__).parents[1] / "data" / "store_9ed0448"
ANSWERS = json.loads((STORE / "answers.json").read_text())


@pytest.fixture(scope="module")
def model():
    return load_video_llm(str(STORE / "checkpoint"), "cpu", "float32", sample_fps=1.0)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("store") / "files"
    shutil.copytree(STORE / "files", folder)
    return f"file://{folder}"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    if redis_binary() is None:
        pytest.skip("needs redis-server")
    running = RedisServer(redis_binary(), tmp_path_factory.mktemp("redis"))
    with redis.Redis(port=running.port) as client:
        for key, value in json.loads((STORE / "redis.json").read_text()).items():
            client.restore(key, 0, base64.b64decode(value))
    yield running.url
    running.kill()


def config_of(name, store):
    """As it was given then, under the names of then."""
    return VStreamConfig(
        model=str(STORE / "checkpoint"),
        device="cpu",
        dtype="float32",
        engine=ANSWERS[name]["engine"],
        memory={"store": store, "segment_bytes": 1 << 16, **ANSWERS[name]["memory"]},
    )


def assert_answers(stream, name):
    for text, then in ANSWERS[name]["answers"].items():
        answer = stream.ask(Question(text)).answer
        assert list(answer.token_ids) == then["token_ids"], text
        assert answer.text == then["text"]
        assert answer.confidence == pytest.approx(then["confidence"], rel=1e-3)
        seen = [[e.block_id, e.start_s, e.end_s, e.num_layers] for e in answer.evidence]
        assert sorted(seen) == sorted(then["evidence"]), text


@pytest.mark.parametrize("name", ANSWERS)
def test_files_of_then_answer_the_same(name, files, model):
    with open_session(config_of(name, files), model, name) as session:
        assert_answers(session, name)


@pytest.mark.parametrize("name", ["plain", "dropped"])
def test_redis_keys_of_then_answer_the_same(name, server, model):
    with open_session(config_of(name, server), model, name) as session:
        assert_answers(session, name)


@pytest.mark.parametrize("name", ["plain", "dropped"])
def test_a_reader_of_another_process_answers_the_same(name, server, files, model):
    for store in (files, server):
        with open_reader(config_of(name, store), model, name) as reader:
            assert_answers(reader, name)
