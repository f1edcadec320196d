"""A memory that is followed from outside agrees with its writer's own, whatever becomes of it."""

import pytest
import torch
from kv_blocks import CPU, HEAD_DIM, KV_HEADS, LAYERS, keeping_newest, kv_block, memory_of

from memory import BlockNotFoundError, MemoryConfig, StoreError, follow_memory, open_memory


@pytest.fixture(params=["file", "redis", "valkey", "object", "s3"])
def url(request, tmp_path):
    if request.param == "file":
        return f"file://{tmp_path}"
    return request.getfixturevalue(f"{request.param}_server").url


def followed(url):
    return follow_memory(MemoryConfig(store=url), "camera", CPU)


def appended(memory, num_blocks):
    for _ in range(num_blocks):
        number = memory.num_blocks
        memory.append(kv_block(end_s=float(number), seed=number))


def same(reader, writer):
    ids = writer.visible(None)
    assert reader.visible(None) == ids
    assert reader.num_blocks == writer.num_blocks
    for layer in range(LAYERS):
        ours, theirs = (m.read(layer, ids, torch.float32, CPU) for m in (reader, writer))
        assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))
    assert torch.equal(*(m.representative_keys(ids) for m in (reader, writer)))
    assert [reader.thumbnail(i) for i in ids] == [writer.thumbnail(i) for i in ids]


def test_it_sees_what_was_there_and_after_a_refresh_what_came(url):
    with memory_of(url) as writer:
        appended(writer, 3)
        with followed(url) as reader:
            same(reader, writer)
            appended(writer, 4)
            assert reader.visible(None) == [0, 1, 2]
            reader.refresh()
            same(reader, writer)
        appended(writer, 1)


def test_it_sees_blocks_coarser_and_gone_without_being_opened_anew(url):
    with memory_of(url) as writer:
        appended(writer, 6)
        with followed(url) as reader:
            same(reader, writer)
            writer.forget(2.0, 3.0)
            appended(writer, 2)
            reader.refresh()
            same(reader, writer)
            assert reader.visible(None) == [0, 1, 4, 5, 6, 7]
            with pytest.raises(BlockNotFoundError):
                reader.read(0, [2], torch.float32, CPU)


def test_a_stream_that_is_not_there_or_not_shared_is_refused(url):
    with pytest.raises(StoreError, match="there is no such stream"):
        followed(url)
    with pytest.raises(StoreError, match="other processes cannot read it"):
        followed("memory://")


# Not over HTTP: it rewrites segments for half a minute.
@pytest.mark.parametrize("url", ["file", "redis", "valkey", "object"], indirect=True)
def test_it_follows_a_memory_that_ages_over_its_budget(url):
    config = MemoryConfig(store=url, file_bytes=1 << 20, redis_bytes=1 << 20)
    make = ("model-a", LAYERS, KV_HEADS, HEAD_DIM, CPU)
    with open_memory(config, "camera", *make, policy=keeping_newest(4)) as writer:
        reader = None
        for number in range(420):
            writer.append(kv_block(tokens=48, end_s=float(number), seed=number))
            if number % 60 == 30:
                reader = reader or follow_memory(config, "camera", CPU)
                reader.refresh()
                same(reader, writer)
        ageing = writer.stats().ageing
        assert ageing.coarsened
        assert ageing.thinned
        reader.close()
