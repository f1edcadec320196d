import dataclasses
import tempfile

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from kv_blocks import CPU, HEAD_DIM, KV_HEADS, LAYERS, kv_block, kv_stream, memory_of, same_info

from memory import BlockNotFoundError, BlockRejectedError, KVBlock, StoreError

CODECS = ["int8", "int4", "bf16", "exact"]


def filled(blocks, store="memory://", **options):
    memory = memory_of(store, **options)
    assert [memory.append(block) for block in blocks] == list(range(len(blocks)))
    return memory


def large_block(i):
    """Of a size that 1 MiB holds ten of when kept exactly."""
    return kv_block(tokens=400, end_s=float(i), seed=i)


def read_all(memory, dtype=torch.float32):
    ids = memory.visible(None)
    return torch.stack(
        [torch.stack(memory.read(layer, ids, dtype, CPU)) for layer in range(LAYERS)]
    )


def files_in(folder):
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@given(ids=st.lists(st.integers(0, 9), max_size=12))
def test_exact_blocks_are_read_in_the_order_asked_for(dtype, ids):
    blocks = kv_stream(10)
    with filled(blocks, codec="exact") as memory:
        for layer in range(LAYERS):
            keys, values = memory.read(layer, ids, dtype, CPU)
            empty = [torch.empty(KV_HEADS, 0, HEAD_DIM)]
            wanted = torch.cat(empty + [blocks[i].keys[layer] for i in ids], dim=1)
            assert torch.equal(keys, wanted.to(dtype))
            wanted = torch.cat(empty + [blocks[i].values[layer] for i in ids], dim=1)
            assert torch.equal(values, wanted.to(dtype))


@pytest.mark.parametrize("codec", CODECS)
@given(ids=st.lists(st.integers(0, 19), min_size=1, max_size=25))
@settings(max_examples=25)
def test_reading_many_blocks_equals_reading_each_alone(codec, ids):
    with filled(kv_stream(20), codec=codec) as memory:
        keys, values = memory.read(1, ids, torch.bfloat16, CPU)
        alone = [memory.read(1, [i], torch.bfloat16, CPU) for i in ids]
        assert torch.equal(keys, torch.cat([keys for keys, _ in alone], dim=1))
        assert torch.equal(values, torch.cat([values for _, values in alone], dim=1))


@pytest.mark.parametrize("codec", CODECS)
@given(num_blocks=st.integers(0, 12), ids=st.lists(st.integers(0, 11), max_size=8))
@settings(max_examples=15)
def test_ram_file_and_reopened_file_give_the_same_bits(codec, num_blocks, ids):
    blocks, ids = kv_stream(num_blocks), [i for i in ids if i < num_blocks]
    with tempfile.TemporaryDirectory() as folder:
        store = f"file://{folder}"
        with filled(blocks, codec=codec) as in_ram:
            with filled(blocks, store, codec=codec) as in_file:
                pass
            with memory_of(store, codec=codec) as reopened:
                assert reopened.num_blocks == num_blocks
                for layer in range(LAYERS):
                    one = in_ram.read(layer, ids, torch.float32, CPU)
                    # The second time the rows come from the host tier.
                    for _ in range(2):
                        other = reopened.read(layer, ids, torch.float32, CPU)
                        assert all(map(torch.equal, one, other))
                assert torch.equal(
                    in_ram.representative_keys(range(num_blocks)),
                    reopened.representative_keys(range(num_blocks)),
                )
                for i in range(num_blocks):
                    assert same_info(in_ram.info(i), reopened.info(i))
                    assert in_ram.thumbnail(i) == reopened.thumbnail(i) == blocks[i].thumbnail
        assert in_file.stats().bytes_by_tier["file"] == reopened.stats().bytes_by_tier["file"]


def test_asking_never_changes_what_is_stored(tmp_path):
    with filled(kv_stream(12), f"file://{tmp_path}") as memory:
        memory.set_note({"source": "file"})
    before = files_in(tmp_path)
    assert set(before) == {
        "000000000000-000000.vskv",
        "segments.json",
        "stream-copy.json",
        "stream.json",
        "writer.lock",
    }
    with memory_of(f"file://{tmp_path}") as memory:
        query = torch.ones(1, KV_HEADS * HEAD_DIM)
        for layer in range(LAYERS):
            ids = memory.search([layer], query, memory.num_blocks, 5, "inner_product")
            memory.read(layer, ids, torch.float32, CPU)
            memory.info(ids[0])
    assert files_in(tmp_path) == before


def test_the_index_sees_the_keys_as_they_were_before_the_codec():
    blocks = kv_stream(5)
    means = torch.stack([block.keys.mean(dim=2).flatten(1) for block in blocks], dim=1)
    with filled(blocks, codec="int4") as memory:
        assert torch.equal(memory.representative_keys(range(5)), means)


@given(at_s=st.floats(-2, 12))
def test_a_question_at_a_moment_sees_the_blocks_that_had_ended(at_s):
    ends_s = [0.0, 1.0, 1.0, 2.5, 7.0]
    with filled([kv_block(end_s=end_s) for end_s in ends_s]) as memory:
        assert memory.visible(at_s) == list(range(sum(end_s <= at_s for end_s in ends_s)))
        assert memory.visible(None) == [0, 1, 2, 3, 4]


def test_above_a_file_ram_is_a_cache_that_keeps_its_budget(tmp_path):
    blocks = [large_block(i) for i in range(25)]
    everything = torch.cat([block.keys[0] for block in blocks], dim=1)
    with filled(blocks, f"file://{tmp_path}", codec="exact") as memory:
        assert memory.stats().bytes_by_tier["host"] <= 1 << 20
        assert (memory.first_block, memory.stats().dropped) == (0, 0)
        for _ in range(2):
            keys, _ = memory.read(0, range(25), torch.float32, CPU)
            assert torch.equal(keys, everything)
            assert memory.stats().bytes_by_tier["host"] <= 1 << 20


def test_rows_that_were_read_before_are_read_from_ram(tmp_path):
    with filled(kv_stream(6), f"file://{tmp_path}") as memory:
        pass
    with memory_of(f"file://{tmp_path}") as memory:
        assert memory.stats().bytes_by_tier["host"] == 0
        before = memory.read(0, [1, 2], torch.float32, CPU)
        (segment,) = (tmp_path / "camera" / "segments").iterdir()
        segment.write_bytes(b"")
        assert all(map(torch.equal, before, memory.read(0, [1, 2], torch.float32, CPU)))


def test_a_block_too_large_for_the_budget_is_refused_where_nothing_lies_below(tmp_path):
    block = kv_block(tokens=5000)
    with memory_of(codec="exact") as memory:
        with pytest.raises(StoreError, match="host tier: its budget of 1048576 bytes cannot hold"):
            memory.append(block)
        assert memory.num_blocks == 0
    with filled([block], f"file://{tmp_path}", codec="exact") as memory:
        assert torch.equal(memory.read(0, [0], torch.float32, CPU)[0], block.keys[0])


WRONG_BLOCKS = {
    "two layers": kv_block(layers=3),
    "two heads": kv_block(kv_heads=1),
    "the head's width": kv_block(head_dim=4),
    "tokens": kv_block(tokens=0),
    "one dtype": KVBlock(kv_block().info, kv_block().keys.double(), kv_block().values.double()),
    "order": kv_block(end_s=4.5),
    "finite time": kv_block(end_s=float("nan")),
    "finite keys": KVBlock(kv_block().info, kv_block().keys / 0, kv_block().values),
    "its positions": KVBlock(kv_block(tokens=2).info, kv_block().keys, kv_block().values),
}


@pytest.mark.parametrize("lacking", WRONG_BLOCKS)
def test_a_block_that_does_not_fit_is_refused_and_nothing_changes(lacking, tmp_path):
    with filled([kv_block(end_s=5.0)], f"file://{tmp_path}") as memory:
        before, content = memory.stats(), files_in(tmp_path)
        block = WRONG_BLOCKS[lacking]
        if lacking not in ("order", "finite time"):
            info = dataclasses.replace(block.info, start_s=5.0, end_s=6.0)
            block = KVBlock(info, block.keys, block.values)
        with pytest.raises(BlockRejectedError):
            memory.append(block)
        assert memory.stats() == before
        assert files_in(tmp_path) == content
        assert memory.append(kv_block(end_s=6.0)) == 1


def test_blocks_made_in_inference_mode_are_taken():
    with torch.inference_mode():
        block = kv_block()
    with filled([block, block], codec="int8") as memory:
        with torch.inference_mode():
            memory.append(block)
        memory.append(kv_block())
        assert torch.equal(*(memory.read(0, [i], torch.float32, CPU)[0] for i in (0, 3)))


@pytest.mark.parametrize("wrong", [-1, 3, 99])
def test_a_block_that_never_was_is_named(wrong):
    with (
        filled(kv_stream(3)) as memory,
        pytest.raises(BlockNotFoundError, match=f"block {wrong} was asked for, blocks 0 to 2 have"),
    ):
        memory.read(0, [0, wrong], torch.float32, CPU)


def test_an_empty_memory_has_nothing_to_read_or_find():
    with memory_of() as memory:
        keys, values = memory.read(0, [], torch.float16, CPU)
        assert keys.shape == values.shape == (KV_HEADS, 0, HEAD_DIM)
        assert keys.dtype == torch.float16
        assert memory.search([0], torch.ones(1, KV_HEADS * HEAD_DIM), 0, 5, "cosine") == []
        stats = memory.stats()
        assert (stats.blocks, stats.from_s, stats.to_s) == (0, 0.0, 0.0)


def test_a_closed_memory_says_so_and_closes_again():
    memory = filled(kv_stream(2))
    memory.close()
    memory.close()
    for use in (memory.flush, lambda: memory.read(0, [0], torch.float32, CPU)):
        with pytest.raises(StoreError, match="closed"):
            use()
    with pytest.raises(StoreError, match="closed"):
        memory.append(kv_block(end_s=9.0))
