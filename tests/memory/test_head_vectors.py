"""What blocks are found by once they have left the window rides on later blocks."""

from dataclasses import replace

import pytest
import torch
from kv_blocks import HEAD_DIM, KV_HEADS, LAYERS, kv_block

from memory import KVMemory, MemoryConfig, follow_memory, open_memory

HEADS = 2 * KV_HEADS
BEHIND = 3
"""A block leaves the window as the third one after it comes."""


def vector(block_id):
    random = torch.Generator().manual_seed(block_id)
    return torch.randn(LAYERS, HEADS * HEAD_DIM, generator=random)


def opened(**config) -> KVMemory:
    return open_memory(
        MemoryConfig(codec="int8", **config),
        stream_id="door",
        fingerprint="model-a",
        layers=LAYERS,
        kv_heads=KV_HEADS,
        head_dim=HEAD_DIM,
        device=torch.device("cpu"),
    )


def append(memory, count, tokens=3):
    for block_id in range(memory.num_blocks, memory.num_blocks + count):
        block = kv_block(tokens, end_s=float(block_id), seed=block_id)
        gone = block_id - BEHIND
        memory.append(replace(block, left={gone: vector(gone)} if gone >= 0 else {}))


def assert_found(memory, ids):
    found = memory.head_vectors.vectors(ids)
    assert torch.equal(found, torch.stack([vector(i) for i in ids], dim=1))


@pytest.mark.parametrize("count", [5, 80])
def test_it_is_there_for_whoever_opens_the_stream(count, tmp_path):
    store = f"file://{tmp_path}"
    with opened(store=store) as memory:
        append(memory, count)
        assert_found(memory, range(count - BEHIND))
        with follow_memory(MemoryConfig(store=store), "door", torch.device("cpu")) as reader:
            assert_found(reader, range(count - BEHIND))
    with opened(store=store) as again:
        assert again.head_vectors.newest == count - BEHIND - 1
        assert_found(again, range(count - BEHIND))


def test_of_few_and_of_many_the_best_are_found(monkeypatch):
    with opened() as memory:
        append(memory, 60)
        all_vectors = torch.stack([vector(i) for i in range(60 - BEHIND)])
        queries = torch.randn(3, HEADS * HEAD_DIM)
        scores = queries @ all_vectors[:, 1].T
        for few in (1024, 10):
            monkeypatch.setattr("memory.head_vectors._FEW_BLOCKS", few)
            ids, found = memory.head_vectors.candidates(1, queries, 50, 4)
            for of_query, wanted in zip(found, scores[:, :50], strict=True):
                best = {ids[at] for at in of_query.topk(4).indices}
                assert best == set(wanted.topk(4).indices.tolist())
            assert (len(ids) == 50) == (few == 1024)


@pytest.mark.parametrize(
    ("forgotten", "carried", "mean", "newest"),
    [
        ((6, 8), (0, 1, 2), (3, 4, 5), 8),
        ((9, 11), (0, 1, 2, 3, 4, 5), (), 5),
        ((0, 4), (5, 6), (), 8),
    ],
)
def test_one_whose_carrier_went_is_found_by_its_mean_key(
    forgotten, carried, mean, newest, tmp_path
):
    store = f"file://{tmp_path}"

    def assert_all(memory):
        assert memory.head_vectors.newest == newest
        assert_found(memory, carried)
        if mean:
            keys = memory.representative_keys(mean).unflatten(2, (KV_HEADS, HEAD_DIM))
            wanted = keys.repeat_interleave(2, dim=2).flatten(2)
            assert torch.equal(memory.head_vectors.vectors(mean), wanted)
        there = [i for i in memory.visible(None) if i <= newest]
        query = torch.randn(1, HEADS * HEAD_DIM)
        assert memory.head_vectors.candidates(0, query, 99, 4)[0] == there

    with opened(store=store) as memory:
        append(memory, 12)
        memory.forget(*forgotten)
        assert_all(memory)
        with follow_memory(MemoryConfig(store=store), "door", torch.device("cpu")) as reader:
            assert_all(reader)
    with opened(store=store) as again:
        assert_all(again)


def test_a_restart_changes_nothing_after_ageing(tmp_path):
    config = {"store": f"file://{tmp_path}", "file_bytes": 1 << 20}
    with opened(**config) as memory:
        append(memory, 250, tokens=100)
        assert memory.stats().ageing.thinned
        newest = memory.head_vectors.newest
        kept = [i for i in memory.visible(None) if i <= newest]
        found = memory.head_vectors.vectors(kept)
    with opened(**config) as again:
        assert again.head_vectors.newest == newest
        assert torch.equal(again.head_vectors.vectors(kept), found)
