from itertools import chain

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from kv_blocks import CPU

from memory import BlockIndex

LAYERS, FEATURES = 3, 10


def index_of(num_blocks, seed=0):
    """An index, and its keys as one tensor [layers, blocks, features]."""
    keys = torch.randn(LAYERS, num_blocks, FEATURES, generator=torch.Generator().manual_seed(seed))
    index = BlockIndex(LAYERS, FEATURES, CPU)
    for block_id in range(num_blocks):
        index.append(block_id, keys[:, block_id])
    return index, keys


def query_of(seed=1):
    return torch.randn(FEATURES, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("num_blocks", [1, 64, 65, 300])
def test_scores_are_the_inner_product_and_the_cosine_with_every_block(num_blocks):
    index, keys = index_of(num_blocks)
    query = query_of()
    for layer in range(LAYERS):
        products = index.scores(layer, query, num_blocks, "inner_product")
        assert torch.allclose(products, keys[layer] @ query, atol=1e-5)
        cosines = index.scores(layer, query, num_blocks, "cosine")
        wanted = torch.cosine_similarity(keys[layer], query[None], dim=1)
        assert torch.allclose(cosines, wanted, atol=1e-6)


def test_the_group_summed_query_scores_as_the_keys_repeated_for_every_query_head():
    kv_heads, group, head_dim = 2, 3, 5
    generator = torch.Generator().manual_seed(3)
    keys = torch.randn(20, kv_heads, head_dim, generator=generator)
    query = torch.randn(kv_heads, group, head_dim, generator=generator)
    index = BlockIndex(1, kv_heads * head_dim, CPU)
    for block_id, key in enumerate(keys):
        index.append(block_id, key.flatten()[None])
    expanded = keys[:, :, None].expand(-1, -1, group, -1).flatten(1)
    wanted = expanded @ query.flatten()
    got = index.scores(0, query.sum(dim=1).flatten(), 20, "inner_product")
    assert torch.allclose(got, wanted, atol=1e-5)
    assert torch.equal(
        index.scores(0, query.sum(dim=1).flatten(), 20, "cosine").argsort(),
        torch.cosine_similarity(expanded, query.flatten()[None], dim=1).argsort(),
    )


@given(
    num_blocks=st.integers(0, 40),
    top_k=st.integers(0, 12),
    chunk_blocks=st.integers(1, 5),
    dropped=st.sets(st.integers(0, 39), max_size=12),
)
@settings(deadline=None)
def test_search_takes_the_best_runs_in_stream_order(num_blocks, top_k, chunk_blocks, dropped):
    index, keys = index_of(num_blocks)
    index.drop(dropped)
    kept = [block_id for block_id in range(num_blocks) if block_id not in dropped]
    query = query_of()
    got = index.search(1, query, num_blocks, top_k, "inner_product", chunk_blocks)
    if len(kept) <= top_k:
        assert got == kept
        return
    runs = [kept[start : start + chunk_blocks] for start in range(0, len(kept), chunk_blocks)]
    runs.sort(key=lambda run: -(keys[1, run] @ query).mean().item())
    assert got == sorted(chain.from_iterable(runs[: top_k // chunk_blocks]))


@pytest.mark.parametrize("similarity", ["inner_product", "cosine"])
def test_a_snapshot_does_not_see_later_blocks(similarity):
    index, _ = index_of(200)
    earlier, keys = index_of(200)
    for block_id in range(200, 300):
        index.append(block_id, query_of().expand(LAYERS, -1) * 100)  # the best possible
    query = query_of()
    for chunk_blocks in (1, 3):
        assert index.search(0, query, 200, 12, similarity, chunk_blocks) == earlier.search(
            0, query, 200, 12, similarity, chunk_blocks
        )
    assert len(index.scores(0, query, 200, similarity)) == len(keys[0])


def test_dropped_blocks_are_neither_scored_nor_found():
    index, keys = index_of(100)
    index.drop([*range(30), 50])
    kept = [*range(30, 50), *range(51, 100)]
    scores = index.scores(0, query_of(), 100, "cosine")
    wanted = torch.cosine_similarity(keys[0, kept], query_of()[None], dim=1)
    assert torch.allclose(scores, wanted, atol=1e-6)
    assert index.search(0, query_of(), 100, 70, "cosine") == kept
    assert index.search(0, query_of(), 20, 5, "cosine") == []
    assert len(index.scores(0, query_of(), 20, "cosine")) == 0
    assert torch.equal(index.keys([99, 30]), keys[:, [99, 30]])


def test_an_index_that_drops_as_it_appends_stays_small_and_right():
    index = BlockIndex(LAYERS, FEATURES, CPU)
    _, keys = index_of(1000)
    for block_id in range(1000):
        index.append(block_id, keys[:, block_id])
        index.drop([block_id - 50])
    assert index.num_bytes <= 128 * LAYERS * (FEATURES + 1) * 4
    scores = index.scores(2, query_of(), 1000, "inner_product")
    assert torch.allclose(scores, keys[2, 950:] @ query_of(), atol=1e-5)


def test_zero_keys_and_zero_queries_have_cosine_zero():
    index = BlockIndex(1, FEATURES, CPU)
    index.append(0, torch.zeros(1, FEATURES))
    assert index.scores(0, query_of(), 1, "cosine").item() == 0
    assert index.scores(0, torch.zeros(FEATURES), 1, "cosine").item() == 0


def test_blocks_appended_in_inference_mode_and_outside_go_together():
    index = BlockIndex(1, FEATURES, CPU)
    for block_id in range(130):
        with torch.inference_mode(block_id % 3 == 0):
            index.append(block_id, torch.full((1, FEATURES), float(block_id)))
    scores = index.scores(0, torch.ones(FEATURES), 130, "inner_product")
    assert torch.equal(scores, torch.arange(130) * float(FEATURES))


def test_the_cosines_of_some_blocks_are_those_among_all():
    index, _ = index_of(200)
    index.drop(range(30))
    chosen = [199, 30, 77, 78, 31]
    some = index.cosines(1, query_of(), chosen)
    among_all = index.scores(1, query_of(), 200, "cosine")
    assert torch.allclose(some, among_all[[block_id - 30 for block_id in chosen]])


@pytest.mark.parametrize("similarity", ["inner_product", "cosine"])
@pytest.mark.parametrize("chunk_blocks", [1, 3])
def test_a_search_of_a_run_is_that_of_an_index_of_this_run(similarity, chunk_blocks):
    generator = torch.Generator().manual_seed(5)
    keys = torch.randn(40, 1, FEATURES, generator=generator)
    whole, part = (BlockIndex(1, FEATURES, torch.device("cpu")) for _ in range(2))
    for block_id in range(40):
        whole.append(block_id, keys[block_id])
        if 10 <= block_id < 31:
            part.append(block_id, keys[block_id])
    query = torch.randn(FEATURES, generator=generator)
    found = whole.search(0, query, 31, 6, similarity, chunk_blocks, first=10)
    assert found == part.search(0, query, 31, 6, similarity, chunk_blocks)
    assert len(found) == 6
    assert whole.search(0, query, 12, 6, similarity, first=10) == [10, 11]
