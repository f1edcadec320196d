"""A block that another memory has encoded is kept as if it had been appended, in every tier."""

import dataclasses

import pytest
import torch
from kv_blocks import (
    CPU,
    HEAD_DIM,
    KV_HEADS,
    LAYERS,
    keeping_newest,
    kv_block,
    kv_stream,
    memory_of,
    same_info,
)

from memory import (
    BlockRejectedError,
    FingerprintMismatchError,
    MemoryConfig,
    StoreError,
    open_memory,
    stored_records,
)
from memory.codecs.codec import CODECS, recoded


@pytest.fixture(params=["memory", "file", "redis", "valkey"])
def url(request, tmp_path):
    if request.param == "memory":
        return "memory://"
    if request.param == "file":
        return f"file://{tmp_path}/taken"
    return request.getfixturevalue(f"{request.param}_server").url


def appended(blocks, *store, **options):
    memory = memory_of(*store, **options)
    for block in blocks:
        memory.append(block)
    return memory


@pytest.fixture
def records(tmp_path):
    """Of the blocks of `kv_stream(12)`, with a codec and a dtype."""

    def of(codec="exact", dtype=torch.float32):
        store = f"file://{tmp_path}/{codec}-{dtype}"
        blocks = [
            dataclasses.replace(b, keys=b.keys.to(dtype), values=b.values.to(dtype))
            for b in kv_stream(12)
        ]
        with appended(blocks, store, codec) as memory:
            pass
        assert memory.num_blocks == 12
        return blocks, list(stored_records(MemoryConfig(store=store), "camera"))

    return of


def require_same(memory, other):
    ids = other.visible(None)
    assert memory.visible(None) == ids
    assert memory.stats() == other.stats()
    for i in ids:
        assert memory.thumbnail(i) == other.thumbnail(i)
        assert same_info(memory.info(i), other.info(i))
    for layer in range(LAYERS):
        for one, two in zip(
            memory.read(layer, ids, torch.float32, CPU),
            other.read(layer, ids, torch.float32, CPU),
            strict=True,
        ):
            assert torch.equal(one, two)
    assert torch.equal(memory.representative_keys(ids), other.representative_keys(ids))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("codec", CODECS.names())
def test_an_exact_block_is_kept_as_if_it_had_been_appended(url, records, codec, dtype):
    blocks, taken = records(dtype=dtype)
    with memory_of(url, codec) as memory:
        assert [memory.take(record) for record in taken] == list(range(12))
        memory.flush()
        with memory_of(url, codec, stream_id="other") as other:
            for block in blocks:
                other.append(block)
            other.flush()
            require_same(memory, other)


@pytest.mark.parametrize("codec", ["int8", "int4", "bf16"])
def test_a_block_in_the_memorys_own_codec_keeps_its_bits(url, records, codec):
    _, taken = records(codec)
    with memory_of(url, codec) as memory, memory_of(codec=codec) as ram:
        for record in taken[3:9]:
            memory.take(record)
            ram.take(record)
        assert memory.visible(None) == [0, 1, 2, 3, 4, 5]
        for layer in range(LAYERS):
            assert ram._source.read_rows(layer, [2, 0]) == [
                taken[5].rows[layer],
                taken[3].rows[layer],
            ]
            for one, two in zip(
                memory.read(layer, [2, 0], torch.float32, CPU),
                ram.read(layer, [2, 0], torch.float32, CPU),
                strict=True,
            ):
                assert torch.equal(one, two)


def test_taken_blocks_are_there_when_the_store_is_opened_again(tmp_path, records):
    blocks, taken = records()
    store = f"file://{tmp_path}/again"
    with memory_of(store) as memory:
        for record in taken[:7]:
            memory.take(record)
    with memory_of(store) as memory:
        for record in taken[7:]:
            memory.take(record)
        memory.flush()
        with appended(blocks, f"file://{tmp_path}/appended") as other:
            assert memory.visible(None) == other.visible(None)
            one = memory.read(1, range(12), torch.float32, CPU)
            assert all(map(torch.equal, one, other.read(1, range(12), torch.float32, CPU)))


def test_over_a_budget_taken_blocks_age_as_appended_ones_do(tmp_path):
    blocks = [kv_block(tokens=40, end_s=float(i), seed=i) for i in range(400)]
    with appended(blocks, f"file://{tmp_path}/exact", codec="exact"):
        pass
    config = MemoryConfig(store=f"file://{tmp_path}", file_bytes=1 << 20)

    def opened(stream_id):
        return open_memory(
            config, stream_id, "model-a", LAYERS, KV_HEADS, HEAD_DIM, CPU, policy=keeping_newest(8)
        )

    with opened("taken") as memory, opened("appended") as other:
        for record in stored_records(MemoryConfig(store=f"file://{tmp_path}/exact"), "camera"):
            memory.take(record)
            assert memory.stats().bytes_by_tier["file"] <= 1 << 20
        for block in blocks:
            other.append(block)
        assert memory.stats().ageing.coarsened > 0
        require_same(memory, other)


def test_what_does_not_fit_is_refused_and_nothing_changes(url, records):
    _, (first, second, *_) = records()
    with memory_of(url) as memory:
        memory.take(second)
        before = memory.stats()
        with pytest.raises(BlockRejectedError, match="appended in stream order"):
            memory.take(first)
        with (
            memory_of(url, stream_id="other", fingerprint="model-b") as other,
            pytest.raises(FingerprintMismatchError, match="'model-a' is stored, 'model-b'"),
        ):
            other.take(first)
        assert memory.stats() == before


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_block_goes_back_to_the_dtype_in_which_it_was_made(records, dtype):
    _, taken = records("int8", dtype)
    exact = recoded(taken[3], "exact")
    assert len(exact.rows[0]) == 2 * exact.head.form.layout.numel * dtype.itemsize
    assert recoded(exact, "exact") is exact


def test_records_are_those_that_are_left_and_a_torn_one_is_not(tmp_path):
    store = f"file://{tmp_path}"
    with appended(kv_stream(12), store) as memory:
        memory.forget(2.0, 3.0)
    newest = max((tmp_path / "camera" / "segments").iterdir())
    newest.write_bytes(newest.read_bytes()[:-5])
    ids = [r.head.block_id for r in stored_records(MemoryConfig(store=store), "camera")]
    with memory_of(store) as memory:
        assert ids == memory.visible(None)
    assert 1 in ids
    assert not {2, 3} & set(ids)


@pytest.mark.parametrize("store", ["memory://", "file:///nowhere", "redis://127.0.0.1:1"])
def test_a_store_without_such_a_stream_in_files_is_named(store):
    with pytest.raises(StoreError, match=store):
        list(stored_records(MemoryConfig(store=store), "camera"))
