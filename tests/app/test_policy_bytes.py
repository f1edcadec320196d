"""`vstream policies` says how much each keeps, from config.json alone, as it is then measured."""

import json

import numpy as np
import pytest

from app.policies import kept_by
from encoders import Frame
from encoders.block_shape import block_shape
from memory import POLICIES, MemoryConfig
from vstream import VStreamConfig, load_video_llm, open_session
from vstream.models.weights import embedded_weights


@pytest.fixture(scope="module")
def shape():
    return block_shape(json.loads((embedded_weights() / "config.json").read_text("utf-8")))


@pytest.fixture(scope="module")
def model():
    return load_video_llm(None, device="cpu")


def moving(count):
    random = np.random.default_rng(3)
    return [
        Frame(random.integers(0, 256, (96, 96, 3), np.uint8), float(second), 0.0)
        for second in range(count)
    ]


def test_a_block_is_as_large_as_it_is_said_to_be(model, shape):
    config = VStreamConfig(memory=MemoryConfig())
    with open_session(config, model, "door") as session:
        session.push(moving(2))
        record = session.memory._store.read_record(1)
    assert shape.kept_bytes(None) == record.num_bytes - len(record.thumbnail)
    assert shape.d_model == model.decoder.d_model
    assert shape.recommended is model.family.recommended


@pytest.mark.parametrize("name", ["window", "streaming_llm", "last_frames"])
def test_a_bound_holds(model, shape, name):
    with open_session(VStreamConfig(policy=name), model, "door") as session:
        session.push(moving(90))
        pictures = sum(map(len, session.memory.thumbnails(session.memory.visible(None))))
        kept = session.memory.bytes_by_tier()["host"] - pictures
    assert 0.5 < kept / kept_by(POLICIES.find(name), shape).at_most <= 1.01


def test_infllm_keeps_a_vector_for_each_query_head(model, shape):
    config = VStreamConfig(policy="infllm", policy_set={"window_frames": 4})
    with open_session(config, model, "door") as session:
        session.push(moving(36))
        pictures = sum(map(len, session.memory.thumbnails(session.memory.visible(None))))
        noted = sum(map(len, session.memory.state.values()))
        kept = session.memory.bytes_by_tier()["host"] - pictures - noted
    an_hour = kept_by(POLICIES.find("infllm"), shape).an_hour
    assert 0.97 < kept / (36 / 3600 * an_hour) <= 1.01


def test_what_grows_has_no_bound(shape):
    assert kept_by(POLICIES.find("default"), shape).an_hour == 3600 * shape.kept_bytes(None)
    assert kept_by(POLICIES.find("goldfish"), shape).at_most is None
