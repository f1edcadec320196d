"""A folded history is a stream of full length, made of the blocks of a short one."""

from itertools import pairwise

import pytest
import torch
from kv_blocks import kv_block

from eval.shape_speed.folded_history import FoldedHistory
from memory import HostTier, KeepPolicy, KVMemory, MemoryReader, StreamMake

CPU = torch.device("cpu")
COUNT = 7


@pytest.fixture(scope="module")
def short():
    block = kv_block(end_s=0.0, seed=0)
    layers, kv_heads, _, head_dim = block.keys.shape
    store = HostTier(1 << 30)
    make = StreamMake("short", layers, kv_heads, head_dim)
    memory = KVMemory(make, CPU, store, KeepPolicy("exact"))
    for number in range(COUNT):
        memory.append(kv_block(end_s=float(number), seed=number))
    return store, memory


@pytest.mark.parametrize("num_blocks", [COUNT, COUNT + 1, 3 * COUNT, 100])
def test_the_newest_blocks_are_those_that_are_there_and_older_ones_repeat_them(short, num_blocks):
    store, memory = short
    folded = MemoryReader(memory.make, CPU, FoldedHistory(store, num_blocks))
    ids = folded.visible(None)
    assert ids == list(range(num_blocks))
    for number in ids:
        there = (number - num_blocks) % COUNT
        for one, other in zip(
            folded.read(1, [number], torch.float32, CPU),
            memory.read(1, [there], torch.float32, CPU),
            strict=True,
        ):
            assert torch.equal(one, other)
        assert folded.thumbnail(number) == memory.thumbnail(there)
    ends = [folded.info(number).end_s for number in ids]
    assert all(later > earlier for earlier, later in pairwise(ends))


def test_a_search_looks_at_all_of_it(short):
    store, memory = short
    folded = MemoryReader(memory.make, CPU, FoldedHistory(store, 500))
    queries = torch.randn(1, memory.make.kv_heads * memory.make.head_dim)
    scores = folded.representative_keys(range(500))[0] @ queries[0]
    assert len(scores) == len(set(scores.tolist())) == 500
    found = folded.search([0], queries, 500, 10, "inner_product")
    assert found == sorted(scores.topk(10).indices.tolist())
