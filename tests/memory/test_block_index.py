from itertools import chain

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from kv_blocks import CPU

from memory import BlockIndex

LAYERS, FEATURES = 3, 12
SIMILARITIES = ["inner_product", "cosine"]


def keys_of(num_blocks, seed=0):
    """[blocks, layers, features]: each feature with a part of its own that all blocks share."""
    generator = torch.Generator().manual_seed(seed)
    shared = 20 * torch.randn(LAYERS, FEATURES, generator=generator)
    return shared + torch.randn(num_blocks, LAYERS, FEATURES, generator=generator)


def index_of(num_blocks, seed=0):
    """An index, and its keys as one tensor [layers, blocks, features]."""
    keys = keys_of(num_blocks, seed)
    index = BlockIndex(LAYERS, FEATURES, CPU)
    index.extend(range(num_blocks), keys)
    return index, keys.transpose(0, 1)


def query_of(seed=0):
    generator = torch.Generator().manual_seed(1000 + seed)
    return torch.randn(LAYERS, FEATURES, generator=generator)


def scores_of(keys, query, similarity):
    """Plainly, of one layer: [blocks, features] and [features] in."""
    if similarity == "cosine":
        return torch.cosine_similarity(keys, query[None], dim=1)
    return keys @ query


@pytest.mark.parametrize("num_blocks", [1, 64, 65, 300])
def test_cosines_are_those_of_the_keys_in_the_order_asked_for(num_blocks):
    index, keys = index_of(num_blocks)
    order = torch.randperm(num_blocks, generator=torch.Generator().manual_seed(2)).tolist()
    wanted = torch.cosine_similarity(keys[:, order], query_of()[:, None], dim=2)
    assert torch.allclose(index.cosines(query_of(), order), wanted, atol=1e-6)
    assert torch.equal(index.keys(order), keys[:, order])


def test_keys_are_those_of_the_blocks_asked_for_whatever_rows_they_lie_in():
    index, keys = index_of(520)
    index.drop({3, 4, 100, 511})
    later = keys_of(80, seed=1)
    index.extend(range(520, 600), later)  # the first ones take free rows
    keys = torch.cat([keys, later.transpose(0, 1)], dim=1)
    runs = [range(3), range(5, 100), range(505, 511), range(515, 600), range(101, 511, 7)]
    for ids in (*runs, [5, 5, 7], [6, 9, 7, 8, 10], [520, 2, 521, 5], []):
        assert torch.equal(index.keys(ids, (2, 0)), keys[[2, 0]][:, list(ids)])


def test_the_group_summed_query_finds_what_the_keys_repeated_for_every_query_head_find():
    kv_heads, group, head_dim = 2, 3, 5
    generator = torch.Generator().manual_seed(3)
    keys = torch.randn(20, kv_heads, head_dim, generator=generator)
    query = torch.randn(kv_heads, group, head_dim, generator=generator)
    index = BlockIndex(1, kv_heads * head_dim, CPU)
    index.extend(range(20), keys.flatten(1)[:, None])
    expanded = keys[:, :, None].expand(-1, -1, group, -1).flatten(1)
    for similarity in SIMILARITIES:
        wanted = scores_of(expanded, query.flatten(), similarity).topk(7).indices
        found = index.search([0], query.sum(dim=1).flatten()[None], 20, 7, similarity)
        assert found == sorted(wanted.tolist())


@given(
    num_blocks=st.integers(0, 40),
    top_k=st.integers(0, 12),
    chunk_blocks=st.integers(1, 5),
    dropped=st.sets(st.integers(0, 39), max_size=12),
)
def test_search_takes_the_best_runs_in_stream_order(num_blocks, top_k, chunk_blocks, dropped):
    index, keys = index_of(num_blocks)
    index.drop(dropped)
    kept = [block_id for block_id in range(num_blocks) if block_id not in dropped]
    got = index.search([1], query_of()[1:2], num_blocks, top_k, "inner_product", chunk_blocks)
    if len(kept) <= top_k:
        assert got == kept
        return
    runs = [kept[start : start + chunk_blocks] for start in range(0, len(kept), chunk_blocks)]
    runs.sort(key=lambda run: -(keys[1, run] @ query_of()[1]).mean().item())
    assert got == sorted(chain.from_iterable(runs[: top_k // chunk_blocks]))


@pytest.mark.parametrize("similarity", SIMILARITIES)
@pytest.mark.parametrize("chunk_blocks", [1, 3])
@pytest.mark.parametrize("history", ["whole", "dropped", "recycled"])
@pytest.mark.parametrize("device_bytes", [None, 40_000, 0])
def test_two_stages_find_what_all_keys_in_float32_find(
    similarity, chunk_blocks, history, device_bytes
):
    """Over several pages, with rows that later blocks took over, wherever the codes lie."""
    num, extra = 3000, 700
    keys = keys_of(num + extra)
    index = BlockIndex(LAYERS, FEATURES, CPU, device_bytes)
    index.extend(range(num), keys[:num])
    ids = list(range(num))
    if history != "whole":
        gone = set(torch.randperm(num, generator=torch.Generator().manual_seed(4))[:900].tolist())
        index.drop(gone)
        ids = [i for i in ids if i not in gone]
    if history == "recycled":
        for block_id in range(num, num + extra):
            index.extend([block_id], keys[block_id][None])
        ids += range(num, num + extra)
    for layer in range(LAYERS):
        for seed in range(5):
            query = query_of(seed)[layer]
            scores = scores_of(keys[ids, layer], query, similarity)
            runs = [
                scores[at : at + chunk_blocks].mean() for at in range(0, len(ids), chunk_blocks)
            ]
            best = torch.stack(runs).topk(24 // chunk_blocks).indices.sort().values.tolist()
            wanted = [i for run in best for i in ids[run * chunk_blocks :][:chunk_blocks]]
            found = index.search([layer], query[None], num + extra, 24, similarity, chunk_blocks)
            assert found == wanted
            early = [i for i in ids if 200 <= i < 2100]
            best = scores_of(keys[early, layer], query, similarity).topk(24).indices.sort().values
            found = index.search([layer], query[None], 2100, 24, similarity, first=200)
            assert found == [early[at] for at in best.tolist()]


@pytest.mark.parametrize("num_blocks", [100, 3000])
def test_of_several_layers_the_mean_counts(num_blocks):
    index, keys = index_of(num_blocks)
    queries = query_of()[[0, 2]]
    mean = torch.cosine_similarity(keys[[0, 2]], queries[:, None], dim=2).mean(dim=0)
    found = index.search([0, 2], queries, num_blocks, 9, "cosine")
    assert found == mean.topk(9).indices.sort().values.tolist()


@pytest.mark.parametrize("similarity", SIMILARITIES)
@pytest.mark.parametrize("num_blocks", [200, 2000])
def test_a_snapshot_does_not_see_later_blocks(similarity, num_blocks):
    index, _ = index_of(num_blocks)
    earlier, _ = index_of(num_blocks)
    query = query_of()[:1]
    for block_id in range(num_blocks, num_blocks + 100):
        index.extend([block_id], query_of()[None] * 100)  # the best possible
    for chunk_blocks in (1, 3):
        assert index.search([0], query, num_blocks, 12, similarity, chunk_blocks) == (
            earlier.search([0], query, num_blocks, 12, similarity, chunk_blocks)
        )


def test_the_largest_keys_and_queries_do_not_overflow_the_products():
    """Processors without VNNI add pairs of 8-bit products in 16 bits, and saturate."""
    features, num = 128, 4096
    keys = torch.randn(num, 1, features, generator=torch.Generator().manual_seed(0)).sign()
    index = BlockIndex(1, features, CPU)
    index.extend(range(num), keys)
    for block_id in (7, 4000):
        for query in (keys[block_id], -keys[block_id]):
            scores = keys[:, 0] @ query[0]
            found = index.search([0], query, num, 32, "inner_product")
            assert torch.equal(scores[found].sort().values, scores.topk(32).values.flip(0))


@pytest.mark.parametrize("outlier", ["key", "query"])
def test_a_feature_that_is_much_larger_than_the_others_does_not_blind_the_first_stage(outlier):
    """As the biases of Qwen2's keys and queries are."""
    features, num = 64, 6000
    generator = torch.Generator().manual_seed(6)
    keys = torch.randn(num, 1, features, generator=generator)
    queries = torch.randn(10, features, generator=generator)
    keys[:, 0, 5] *= 30.0 if outlier == "key" else 1 / 30
    keys[:, 0, 5] += 300
    queries[:, 5] *= 1 / 30 if outlier == "key" else 30.0
    index = BlockIndex(1, features, CPU)
    index.extend(range(num), keys)
    found = same = 0
    for query in queries:
        wanted = set((keys[:, 0].double() @ query.double()).topk(32).indices.tolist())
        same += len(wanted & set(index.search([0], query[None], num, 32, "inner_product")))
        found += len(wanted)
    assert same >= 0.99 * found


@pytest.mark.parametrize(("device_bytes", "num", "far"), [(None, 9000, 20), (0, 26_000, 5)])
def test_keys_that_move_far_away_are_told_apart_as_well(device_bytes, num, far):
    """As when the night comes to a camera that has seen days."""
    features = 64
    generator = torch.Generator().manual_seed(7)
    keys = torch.randn(num, 1, features, generator=generator)
    keys[4000:] = 0.3 * keys[4000:] + far * torch.randn(features, generator=generator)
    index = BlockIndex(1, features, CPU, device_bytes)
    for block_id in range(0, num, 8):
        index.extend(range(block_id, block_id + 8), keys[block_id : block_id + 8])
    for query in torch.randn(10, features, generator=generator):
        for first, below in ((0, num), (4600, num)):
            some = keys[first:below, 0].double() @ query.double()
            wanted = set((some.topk(32).indices + first).tolist())
            found = index.search([0], query[None], below, 32, "inner_product", first=first)
            assert len(wanted & set(found)) >= 31


def test_the_newest_codes_lie_on_the_device_within_its_budget():
    keys, budget = keys_of(20_000), 300_000
    whole, index = BlockIndex(LAYERS, FEATURES, CPU), BlockIndex(LAYERS, FEATURES, CPU, budget)
    for one in (whole, index):
        for first in range(0, len(keys), 100):
            one.extend(range(first, first + 100), keys[first : first + 100])
    by_row = 2 * LAYERS * 4  # scale and norm
    rows = 512 + 512 + 1024 + 2048 + 4096 + 2 * 8192
    assert whole.num_device_bytes == rows * (LAYERS * FEATURES + by_row)
    assert index.num_device_bytes == 8192 * LAYERS * FEATURES + rows * by_row
    for seed in range(5):
        query = query_of(seed)[:1]
        asked = [0], query, len(keys), 32, "cosine"
        assert index.search(*asked) == whole.search(*asked)


def test_a_stream_day_of_a_7b_on_a_card_in_bytes():
    """48 of them in 16 GB: no number of them is written, so nothing of it takes room here."""
    index = BlockIndex(28, 512, torch.device("meta"), 256 << 20)
    for _ in range(86_400):
        index._take_row()
    rows = 512 + 512 + 1024 + 2048 + 4096 + 10 * 8192
    assert index.num_device_bytes == 2 * 8192 * 28 * 512 + rows * 28 * 8 == 255_066_112
    assert 48 * index.num_device_bytes < 16e9
    assert index.num_bytes - index.num_device_bytes == 86_400 * 28 * (512 + 1) * 4


def stream_keys(num_blocks, seed=0):
    """[blocks, layers, features]: most of what they vary by lies in a few directions."""
    generator = torch.Generator().manual_seed(seed)
    features, few = 32, 8
    directions = torch.randn(LAYERS, few, features, generator=generator)
    shared = 10 * torch.randn(LAYERS, features, generator=generator)
    much = torch.randn(num_blocks, LAYERS, 1, few, generator=generator) @ directions
    return shared + much[:, :, 0] + 0.2 * torch.randn(num_blocks, LAYERS, features)


def on_host(keys, first=0):
    index = BlockIndex(LAYERS, keys.shape[2], CPU, 0)
    for number, part in enumerate(keys.split(1000)):
        index.extend(range(first + 1000 * number, first + 1000 * number + len(part)), part)
    return index


def found_of_the_best(index, keys, ids, below, similarity, first=0):
    """The share of the truly best that are found, over layers and queries like the keys."""
    shares = []
    for layer in range(LAYERS):
        for query in stream_keys(6, seed=9)[:, layer] - keys[:, layer].mean(dim=0):
            some = [one for one in ids if first <= one < below]
            best = scores_of(keys[some, layer], query, similarity).topk(24).indices.tolist()
            found = index.search([layer], query[None], below, 24, similarity, first=first)
            assert found == sorted(set(found))
            assert set(found) <= set(some)
            shares.append(len({some[at] for at in best}.intersection(found)) / 24)
    return sum(shares) / len(shares)


@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_a_long_past_in_host_ram_is_found(similarity):
    keys, ids = stream_keys(30_000), range(30_000)
    index = on_host(keys[:26_000])
    assert found_of_the_best(index, keys, ids, 26_000, similarity) >= 0.99
    assert found_of_the_best(index, keys, ids, 21_000, similarity, first=5000) >= 0.99
    assert index.num_device_bytes == 0
    gone = set(range(600)) | set(range(9000, 21_000, 3))
    index.drop(gone)
    for block_id in range(26_000, 30_000):  # into the rows of those that went
        index.extend([block_id], keys[block_id][None])
    kept = [one for one in ids if one not in gone]
    assert found_of_the_best(index, keys, kept, 30_000, similarity) >= 0.99
    index.replace(29_000, keys[29_000] * 0 + query_like(keys))
    assert 29_000 in index.search([1], query_like(keys)[1:2], 30_000, 24, "cosine")


def query_like(keys):
    return keys[0] - keys.mean(dim=0)


@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_what_is_found_of_a_long_past_is_the_same_whatever_comes_later(similarity):
    keys = stream_keys(28_000)
    grown, queries = on_host(keys[:17_000]), stream_keys(8, seed=9)

    def found(index, first, below):
        asked = ((layer, query) for query in queries for layer in range(LAYERS))
        return [
            index.search([layer], query[layer : layer + 1], below, 24, similarity, first=first)
            for layer, query in asked
        ]

    spans = (0, 17_000), (0, 16_000), (700, 14_000)
    then = [found(grown, *span) for span in spans]
    for number, part in enumerate(keys[17_000:].split(1000)):
        grown.extend(range(17_000 + 1000 * number, 18_000 + 1000 * number), part)
    found(grown, 0, 28_000)
    assert [found(grown, *span) for span in spans] == then
    assert [found(on_host(keys), *span) for span in spans] == then


def test_runs_and_several_layers_are_found_exactly_in_host_ram():
    keys = stream_keys(12_000)
    index, queries = on_host(keys), stream_keys(1, seed=9)[0]
    mean = torch.cosine_similarity(keys, queries[None], dim=2).mean(dim=1)
    found = index.search(range(LAYERS), queries, 12_000, 24, "cosine")
    assert found == mean.topk(24).indices.sort().values.tolist()
    best = (keys[:, 1] @ queries[1]).view(-1, 4).mean(dim=1).topk(6).indices.sort().values
    wanted = [4 * run + at for run in best.tolist() for at in range(4)]
    assert index.search([1], queries[1:2], 12_000, 24, "inner_product", 4) == wanted


def test_dropped_blocks_are_not_found():
    index, keys = index_of(100)
    index.drop([*range(30), 50])
    kept = [*range(30, 50), *range(51, 100)]
    query = query_of()[:1]
    assert index.search([0], query, 100, 70, "cosine") == kept
    assert index.search([0], query, 20, 5, "cosine") == []
    assert torch.equal(index.keys([99, 30]), keys[:, [99, 30]])


def test_an_index_that_drops_as_it_appends_stays_small_and_right():
    index = BlockIndex(LAYERS, FEATURES, CPU)
    keys = keys_of(2000)
    for block_id in range(50):
        index.extend([block_id], keys[block_id][None])
    num_bytes = index.num_bytes
    for block_id in range(50, 2000):
        index.extend([block_id], keys[block_id][None])
        index.drop([block_id - 50])
    assert index.num_bytes == num_bytes + LAYERS * (FEATURES + 1) * 4  # 51 rows: it drops last
    wanted = (keys[1950:, 2] @ query_of()[2]).topk(5).indices.sort().values + 1950
    assert index.search([2], query_of()[2:], 2000, 5, "inner_product") == wanted.tolist()


def test_an_index_of_which_much_goes_gives_room_back():
    index, keys = index_of(5000)
    num_bytes = index.num_bytes
    index.drop(range(400, 5000))
    assert index.num_bytes <= num_bytes / 8
    index.extend(range(5000, 5200), keys.transpose(0, 1)[:200])
    assert torch.equal(index.keys([399, 5000, 5199]), keys[:, [399, 0, 199]])
    index.drop([*range(400), *range(5000, 5200)])
    assert index.num_bytes == 0
    assert index.search([0], query_of()[:1], 9999, 5, "cosine") == []


def test_zero_keys_and_zero_queries_have_cosine_zero():
    index = BlockIndex(1, FEATURES, CPU)
    index.extend([0], torch.zeros(1, FEATURES)[None])
    assert index.cosines(query_of()[:1], [0]).item() == 0
    assert index.cosines(torch.zeros(1, FEATURES), [0]).item() == 0
    same = BlockIndex(1, FEATURES, CPU)
    same.extend(range(1000), torch.zeros(1000, 1, FEATURES))
    for query in (query_of()[:1], torch.zeros(1, FEATURES)):
        for similarity in SIMILARITIES:
            assert len(same.search([0], query, 1000, 5, similarity)) == 5


def test_blocks_appended_in_inference_mode_and_outside_go_together():
    index = BlockIndex(1, FEATURES, CPU)
    for block_id in range(1300):
        with torch.inference_mode(block_id % 3 == 0):
            index.extend([block_id], torch.full((1, FEATURES), float(block_id))[None])
            if block_id % 7 == 0:
                found = index.search([0], torch.ones(1, FEATURES), 1300, 1, "inner_product")
                assert found == [block_id]
    assert torch.equal(index.keys(range(1300))[0, :, 0], torch.arange(1300.0))


@pytest.mark.parametrize("similarity", SIMILARITIES)
@pytest.mark.parametrize("chunk_blocks", [1, 3])
def test_a_search_of_a_run_is_that_of_an_index_of_this_run(similarity, chunk_blocks):
    keys, query = keys_of(40), query_of()[:1]
    whole, part = (BlockIndex(LAYERS, FEATURES, CPU) for _ in range(2))
    for block_id in range(40):
        whole.extend([block_id], keys[block_id][None])
        if 10 <= block_id < 31:
            part.extend([block_id], keys[block_id][None])
    found = whole.search([0], query, 31, 6, similarity, chunk_blocks, first=10)
    assert found == part.search([0], query, 31, 6, similarity, chunk_blocks)
    assert len(found) == 6
    assert whole.search([0], query, 12, 6, similarity, first=10) == [10, 11]


@settings(max_examples=30)
@given(
    steps=st.lists(
        st.tuples(st.sampled_from(["extend", "drop", "replace"]), st.integers(0, 1 << 16)),
        max_size=12,
    ),
    device_bytes=st.sampled_from([None, 0]),
)
def test_an_index_that_changed_finds_what_a_fresh_one_of_the_same_blocks_finds(steps, device_bytes):
    index = BlockIndex(LAYERS, FEATURES, CPU, device_bytes)
    kept, next_id = {}, 0
    for kind, seed in [("extend", 1500), *steps]:
        some = seed % 1511
        if kind == "extend":
            keys = keys_of(
                some, seed + next_id
            )  # other ones each time: nothing says who wins a tie
            ids = range(next_id, next_id + some)
            index.extend(ids, keys)
            kept.update(zip(ids, keys, strict=True))
            next_id += some
        elif kind == "drop":
            gone = [one for one in kept if one % 7 == seed % 7 or one < some]
            index.drop(gone)
            kept = {one: keys for one, keys in kept.items() if one not in set(gone)}
        elif kept:
            one = list(kept)[some % len(kept)]
            kept[one] = keys_of(1, seed)[0]
            index.replace(one, kept[one])
    fresh = BlockIndex(LAYERS, FEATURES, CPU, device_bytes)
    if kept:
        fresh.extend(list(kept), torch.stack(list(kept.values())))
    assert index.num_blocks == len(kept)
    assert torch.equal(index.keys(list(kept)), fresh.keys(list(kept)))
    for first, below in ((0, next_id), (next_id // 3, next_id // 2)):
        for similarity in SIMILARITIES:
            asked = [1], query_of()[1:2], below, 9, similarity
            assert index.search(*asked, first=first) == fresh.search(*asked, first=first)
