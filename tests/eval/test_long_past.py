"""A long past is made of the blocks of a short one."""

from itertools import pairwise

import pytest
import torch
from kv_blocks import kv_block

from eval.speed.past import LongPast
from memory import HostTier, KeepPolicy, KVMemory, Provenance

CPU = torch.device("cpu")
COUNT = 7


def memory_over(store):
    block = kv_block(end_s=0.0, seed=0)
    layers, kv_heads, _, head_dim = block.keys.shape
    make = Provenance("short", layers, kv_heads, head_dim)
    return KVMemory(make, CPU, store, KeepPolicy("exact"))


@pytest.fixture(scope="module")
def short():
    store = HostTier(1 << 30)
    memory = memory_over(store)
    for number in range(COUNT):
        memory.append(kv_block(end_s=float(number), seed=number))
    return store, memory


def long_past(store, num_blocks):
    return memory_over(LongPast(store, num_blocks))


@pytest.mark.parametrize("num_blocks", [COUNT, COUNT + 1, 3 * COUNT, 100])
def test_the_newest_blocks_are_those_that_are_there_and_older_ones_repeat_them(short, num_blocks):
    store, memory = short
    past = long_past(store, num_blocks)
    ids = past.visible(None)
    assert ids == list(range(num_blocks))
    for number in ids:
        there = (number - num_blocks) % COUNT
        for one, other in zip(
            past.read(1, [number], torch.float32, CPU),
            memory.read(1, [there], torch.float32, CPU),
            strict=True,
        ):
            assert torch.equal(one, other)
        assert past.thumbnail(number) == memory.thumbnail(there)
    ends = [past.info(number).end_s for number in ids]
    assert all(later > earlier for earlier, later in pairwise(ends))


def test_a_search_looks_at_all_of_it(short):
    store, memory = short
    past = long_past(store, 500)
    features = memory.provenance.kv_heads * memory.provenance.head_dim
    queries = torch.randn(1, features, generator=torch.Generator().manual_seed(1))
    scores = past.representative_keys(range(500))[0] @ queries[0]
    assert len(set(scores.tolist())) > 490  # two of so many may be equal by chance
    found = past.search([0], queries, 500, 10, "inner_product")
    assert found == sorted(scores.topk(10).indices.tolist())
