"""FAISS finds what a search over all blocks by hand finds, whatever has gone meanwhile."""

import faiss
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from kv_blocks import HEAD_DIM, KV_HEADS, LAYERS, kv_block, kv_stream, memory_of

from memory import KVBlock, MomentIndex

FEATURES = KV_HEADS * HEAD_DIM
STREAM = kv_stream(40)


def query_of(seed, layers):
    return torch.randn(layers, FEATURES, generator=torch.Generator().manual_seed(seed))


def by_hand(memory, layers, query, first, below):
    """Every block's mean cosine, best first."""
    ids = [block_id for block_id in memory.visible(None) if first <= block_id < below]
    if not ids:
        return []
    keys = memory.representative_keys(ids)[list(layers)]
    means = torch.cosine_similarity(keys, query[:, None], dim=2).mean(dim=0)
    return sorted(zip(ids, means.tolist(), strict=True), key=lambda pair: -pair[1])


def assert_found(index, memory, layers, query, top, first=0, below=10**9):
    wanted = by_hand(memory, layers, query, first, below)[:top]
    hits = index.search(query, top, first, below)
    assert [hit.block_id for hit in hits] == [block_id for block_id, _ in wanted]
    assert [hit.score for hit in hits] == pytest.approx([s for _, s in wanted], abs=1e-5)


@given(
    steps=st.lists(
        st.one_of(
            st.integers(1, 9).map(lambda count: ("append", count)),
            st.tuples(st.integers(0, 40), st.integers(0, 12)).map(lambda span: ("forget", *span)),
        ),
        min_size=1,
        max_size=7,
    ),
    layers=st.sampled_from([(0,), (1,), (0, 1), (1, 0)]),
    seed=st.integers(0, 1000),
    top=st.integers(1, 50),
    span=st.tuples(st.integers(0, 42), st.integers(0, 42)),
)
def test_it_finds_what_a_look_at_every_block_finds(steps, layers, seed, top, span):
    index = MomentIndex(layers, FEATURES)
    query = query_of(seed, len(layers))
    with memory_of() as memory:
        for kind, *numbers in steps:
            if kind == "append":
                begin = memory.num_blocks
                for block in STREAM[begin : begin + numbers[0]]:
                    memory.append(block)
            else:
                memory.forget(numbers[0], numbers[0] + numbers[1])
            index.update(memory)
            assert index.num_blocks == len(memory.visible(None))
            assert_found(index, memory, layers, query, top)
            assert_found(index, memory, layers, query, top, *span)


def test_several_changes_may_lie_between_two_updates():
    index = MomentIndex((0, 1), FEATURES)
    with memory_of() as memory:
        for block in STREAM[:20]:
            memory.append(block)
        index.update(memory)
        memory.forget(3, 9)
        for block in STREAM[20:]:
            memory.append(block)
        memory.forget(15, 25)
        index.update(memory)
        index.update(memory)
        assert_found(index, memory, (0, 1), query_of(3, 2), 40)
        assert index.num_bytes == 4 * 2 * FEATURES * len(memory.visible(None))


def test_blocks_that_a_budget_drops_are_not_found():
    index = MomentIndex((0,), FEATURES)
    with memory_of(codec="int4") as memory:
        for number in range(40):
            memory.append(kv_block(tokens=1600, end_s=float(number), seed=number))
            index.update(memory)
        assert memory.stats().dropped > 0
        assert_found(index, memory, (0,), query_of(1, 1), 40)


def test_an_index_can_be_emptied_and_filled_again():
    index = MomentIndex((1,), FEATURES)
    with memory_of() as memory:
        index.update(memory)
        assert index.search(query_of(0, 1), 5) == []
        for block in STREAM[:10]:
            memory.append(block)
        index.update(memory)
        memory.forget(0, 100)
        index.update(memory)
        assert index.search(query_of(0, 1), 5) == []
        for block in STREAM[10:14]:
            memory.append(block)
        index.update(memory)
        assert_found(index, memory, (1,), query_of(0, 1), 5)


def test_zero_keys_and_zero_queries_have_cosine_zero():
    index = MomentIndex(range(LAYERS), FEATURES)
    block = STREAM[0]
    with memory_of() as memory:
        memory.append(KVBlock(block.info, block.keys * 0, block.values, block.thumbnail))
        index.update(memory)
    assert index.search(query_of(0, LAYERS), 1)[0].score == 0
    assert index.search(torch.zeros(LAYERS, FEATURES), 1)[0].score == 0


def test_it_starts_no_threads_of_its_own():
    faiss.omp_set_num_threads(2)
    index = MomentIndex((0,), FEATURES)
    with memory_of() as memory:
        memory.append(STREAM[0])
        index.update(memory)
    index.search(query_of(0, 1), 1)
    assert faiss.omp_get_max_threads() == 1


def test_an_index_of_no_layers_is_refused():
    with pytest.raises(ValueError, match="at least one layer"):
        MomentIndex((), FEATURES)
