"""Every store gives back, bit for bit, what host RAM gives back: kept, reopened and followed."""

import dataclasses

import pytest
import torch
from kv_blocks import CPU, HEAD_DIM, KV_HEADS, LAYERS, kv_stream, memory_of, same_info

from memory import MemoryConfig, follow_memory, open_memory, verify_stored
from memory.codecs.codec import CODECS

QUERY = torch.arange(KV_HEADS * HEAD_DIM).float()[None] - 5


@pytest.fixture(params=["file", "redis", "valkey", "object", "s3"])
def url(request, tmp_path):
    if request.param == "file":
        return f"file://{tmp_path}"
    return request.getfixturevalue(f"{request.param}_server").url


def filled(memory, num_blocks=12):
    for block in kv_stream(num_blocks)[memory.num_blocks :]:
        memory.append(block)
    return memory


def require_same(memory, other):
    ids = other.visible(None)
    assert memory.visible(None) == ids
    assert [memory.thumbnail(i) for i in ids] == [other.thumbnail(i) for i in ids]
    assert all(same_info(memory.info(i), other.info(i)) for i in ids)
    some = [ids[7], ids[0], ids[7], ids[-1]]
    for layer in range(LAYERS):
        for one, two in zip(
            memory.read(layer, some, torch.float32, CPU),
            other.read(layer, some, torch.float32, CPU),
            strict=True,
        ):
            assert torch.equal(one, two)
        assert memory.search([layer], QUERY, 10, 3, "cosine") == other.search(
            [layer], QUERY, 10, 3, "cosine"
        )
    assert torch.equal(memory.representative_keys(ids), other.representative_keys(ids))


@pytest.mark.parametrize("codec", CODECS.names())
def test_what_a_store_holds_is_what_host_ram_holds(url, codec):
    ram = filled(memory_of(codec=codec))
    with filled(memory_of(url, codec)) as memory:
        require_same(memory, ram)
        with follow_memory(MemoryConfig(store=url), "camera", CPU) as reader:
            require_same(reader, ram)
    (report,) = verify_stored(url)
    assert (report.blocks, report.faults, report.is_live) == (12, (), False)
    with memory_of(url, codec) as memory:
        require_same(memory, ram)
        (report,) = verify_stored(url)
        assert (report.blocks, report.faults, report.is_live) == (12, (), True)


def test_without_any_copies_in_host_ram_as_with_them(url):
    """A budget that holds no row: every read goes to the store."""
    config = MemoryConfig(store=url).model_copy(update={"host_bytes": 1})
    ram = filled(memory_of())
    with open_memory(config, "camera", "model-a", LAYERS, KV_HEADS, HEAD_DIM, CPU) as memory:
        require_same(filled(memory), ram)
        assert memory.stats().bytes_by_tier["host"] == 0


def test_what_is_noted_is_there_after_a_restart_and_for_those_who_follow(url):
    with memory_of(url) as memory:
        for number, block in enumerate(kv_stream(3), 1):
            noted = {"sum": str(number).encode(), "other": b"x"}
            memory.take(dataclasses.replace(memory.encoded(block), noted=noted))
        memory.note_state({"other": None, "text": "später".encode()})
        wanted = dict(memory.state)
        assert wanted == {"sum": b"3", "text": "später".encode()}
        with follow_memory(MemoryConfig(store=url), "camera", CPU) as reader:
            assert reader.state == wanted
    with memory_of(url) as memory:
        assert memory.state == wanted
        memory.erase()
    with memory_of(url) as memory:
        assert memory.state == {}
