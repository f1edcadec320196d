"""What becomes of old blocks over a budget, after `retain_s`, and when they are forgotten."""

from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from kv_blocks import CPU, HEAD_DIM, KV_HEADS, LAYERS, keeping_newest, kv_block, kv_stream

from memory import BlockNotFoundError, MemoryConfig, Span, StoreError, open_memory
from memory.ageing import SPARSEST, redundant, thinnest
from memory.aging_memory import coarser
from memory.block_store import SPAN_BLOCKS

NEWEST, NUM = 8, 320
QUERY = torch.randn(1, KV_HEADS * HEAD_DIM, generator=torch.Generator().manual_seed(0))


def memory_of(store="memory://", budget_bytes=1 << 20, **options):
    budget = "host_bytes" if store == "memory://" else "file_bytes"
    config = MemoryConfig(store=store, **{budget: budget_bytes}, **options)
    return open_memory(
        config, "camera", "model", LAYERS, KV_HEADS, HEAD_DIM, CPU, keeping_newest(NEWEST)
    )


@pytest.fixture(params=["memory://", "file://"])
def store(request, tmp_path):
    return request.param if request.param == "memory://" else f"file://{tmp_path}"


def block(i):
    return kv_block(tokens=64, end_s=float(i), seed=i)


def large(i):
    """Of which a budget holds half as many."""
    return kv_block(tokens=128, end_s=float(i), seed=i)


def read(memory, ids):
    return [torch.stack(memory.read(layer, ids, torch.float32, CPU)) for layer in range(LAYERS)]


def test_over_a_budget_the_past_gets_coarser_then_sparser_and_never_ends_earlier(store):
    seen = {"coarsened": False, "thinned": False}
    with memory_of(store, codec="bf16") as memory:
        for i in range(NUM):
            memory.append(large(i))
            assert memory._store.num_bytes <= 1 << 20
            if i % 10:
                continue
            ageing = memory.stats().ageing
            if ageing.thinned and not seen["thinned"]:
                fine = memory.stats().blocks_by_codec["bf16"]
                assert fine <= NEWEST + 2 * SPAN_BLOCKS, "all is coarser before any is thinned"
            seen = {"coarsened": ageing.coarsened > 0, "thinned": ageing.thinned > 0}
        assert all(seen.values())
        assert memory.stats().ageing.dropped == 0
        kept = memory.visible(None)
        assert kept[-NEWEST:] == list(range(NUM - NEWEST, NUM))
        gaps = [b - a for a, b in pairwise([-1, *kept])]
        assert max(gaps) <= 2 * SPAN_BLOCKS, "every part of the past is still there"
        stats = memory.stats()
        assert stats.blocks == len(kept)
        assert stats.dropped == NUM - len(kept) == stats.ageing.thinned
        assert set(stats.blocks_by_codec) == {"bf16", "int4"}
        found = memory.search([0], QUERY, NUM, 20, "cosine")
        assert set(found) <= set(kept)
        assert all(part.isfinite().all() for part in read(memory, found))


def test_what_cannot_get_sparser_goes_from_the_old_end(store):
    with memory_of(store, codec="int4") as memory:
        blocks = [kv_block(tokens=1600, seed=i) for i in range(7)]
        for i in range(300):
            one = blocks[i % 7]
            info = replace(one.info, start_s=float(i), end_s=float(i))
            memory.append(replace(one, info=info))
        assert memory.stats().ageing.dropped > 0
        assert memory.first_block > 0
        assert memory._store.num_bytes <= 1 << 20
        with pytest.raises(BlockNotFoundError, match="block 0 was asked for and is no longer kept"):
            memory.read(0, [0], torch.float32, CPU)


def test_what_must_stay_stays_as_it_was(store):
    with memory_of(store, codec="exact") as memory:
        for i in range(150):
            memory.append(large(i))
        newest = range(150 - NEWEST, 150)
        for layer, (keys, values) in enumerate(read(memory, newest)):
            assert torch.equal(keys, torch.cat([large(i).keys[layer] for i in newest], dim=1))
            assert torch.equal(values, torch.cat([large(i).values[layer] for i in newest], dim=1))


@pytest.mark.parametrize("codec", ["bf16", "exact"])
def test_numbers_that_the_coarsest_codec_cannot_hold_keep_no_block_from_ageing(store, codec):
    huge = {3, *range(70, 200)}  # one among others, and whole spans
    with memory_of(store, codec=codec) as memory:
        for i in range(NUM):
            one = large(i)
            memory.append(replace(one, keys=1e6 * one.keys) if i in huge else one)
            assert memory._store.num_bytes <= 1 << 20
        stats = memory.stats()
        assert stats.ageing.coarsened
        assert stats.ageing.thinned
        assert stats.ageing.dropped == 0
        stayed = huge & {i for i in memory.visible(None) if memory._forms[i].codec == codec}
        assert stayed == huge & set(memory.visible(None)) != set()
        for i in stayed:
            made = large(i).keys * 1e6
            kept = torch.stack([memory.read(layer, [i], torch.float32, CPU)[0] for layer in (0, 1)])
            torch.testing.assert_close(kept, made, rtol=0 if codec == "exact" else 1e-2, atol=0)


def test_a_budget_that_cannot_hold_what_must_stay_is_named(store):
    with memory_of(store, codec="exact") as memory:
        memory.append(kv_block(tokens=1000, end_s=0.0))
        told = r"cannot hold the newest 8 blocks.*raise the budget"
        with pytest.raises(StoreError, match=told):  # noqa: PT012  one of the next does not fit
            for i in range(1, 9):
                memory.append(kv_block(tokens=1000, end_s=float(i), seed=i))


@pytest.mark.parametrize("kind", ["file", "redis"])
def test_a_memory_that_is_opened_within_a_smaller_budget_ages_then_and_not_in_an_append(
    kind, tmp_path, request, monkeypatch
):
    url = f"file://{tmp_path}" if kind == "file" else request.getfixturevalue("redis_server").url

    def opened(budget_bytes):
        config = MemoryConfig(store=url, codec="bf16", **{f"{kind}_bytes": budget_bytes})
        return open_memory(
            config, "camera", "model", LAYERS, KV_HEADS, HEAD_DIM, CPU, keeping_newest(NEWEST)
        )

    with opened(1 << 23) as memory:
        for i in range(320):
            memory.append(block(i))
        newest = read(memory, range(320 - NEWEST, 320))
        assert memory._store.num_bytes > 2 << 20
    with opened(1 << 20) as memory:
        assert memory._store.num_bytes <= 1 << 20
        ageing = memory.stats().ageing
        assert ageing.coarsened
        assert all(map(torch.equal, read(memory, range(320 - NEWEST, 320)), newest))
        age, times = memory._age, []
        monkeypatch.setattr(memory, "_age", lambda: times.append(0) or age())
        memory.append(block(320))
        assert len(times) <= 1
        kept = memory.visible(None)
        codecs = memory.stats().blocks_by_codec
    with opened(1 << 20) as memory:
        assert (memory.visible(None), memory.stats().blocks_by_codec) == (kept, codecs)


def test_a_budget_that_cannot_hold_what_must_stay_keeps_nobody_from_reading(tmp_path):
    store = f"file://{tmp_path}"
    with memory_of(store, 1 << 24, codec="exact") as memory:
        for i in range(9):
            memory.append(kv_block(tokens=1000, end_s=float(i), seed=i))
    with memory_of(store, codec="exact") as memory:
        assert memory.visible(None)[-NEWEST:] == list(range(1, 9))
        with pytest.raises(StoreError, match="cannot hold the newest 8 blocks"):
            memory.append(kv_block(tokens=1000, end_s=9.0))


def test_an_aged_memory_is_the_same_when_it_is_opened_again(tmp_path):
    store = f"file://{tmp_path}"
    with memory_of(store) as memory:
        for i in range(NUM):
            memory.append(large(i))
        kept, stats = memory.visible(None), memory.stats()
        before, keys = read(memory, kept), memory.representative_keys(kept)
    assert stats.ageing.thinned > 0
    with memory_of(store) as again:
        assert again.visible(None) == kept
        assert again.num_blocks == NUM
        assert all(map(torch.equal, read(again, kept), before))
        assert torch.equal(again.representative_keys(kept), keys)
        assert again.stats().blocks_by_codec == stats.blocks_by_codec
        again.append(large(NUM))
        assert again.visible(None)[-1] == NUM


@pytest.mark.parametrize("codec", ["int8", "bf16", "exact"])
def test_a_coarser_block_is_what_its_coarsest_codec_makes_of_it(codec, tmp_path):
    config = MemoryConfig(codec=codec)
    with open_memory(config, "camera", "m", LAYERS, KV_HEADS, HEAD_DIM, CPU) as memory:
        memory.append(block(0))
        record = memory._store.read_record(0)
        keys, values = (torch.stack(part) for part in zip(*read(memory, [0]), strict=True))
    aged = coarser(record)
    assert aged.num_bytes < record.num_bytes
    assert aged.thumbnail == record.thumbnail
    with open_memory(
        MemoryConfig(codec="int4"), "camera", "m", LAYERS, KV_HEADS, HEAD_DIM, CPU
    ) as memory:
        direct = kv_block(tokens=64)
        memory.append(type(direct)(direct.info, keys, values))
        assert memory._store.read_record(0).rows == aged.rows


@given(st.lists(st.integers(0, 6), min_size=1, max_size=24), st.integers(1, 24))
def test_the_blocks_that_are_like_a_neighbour_go_first(scenes, num_kept):
    """Blocks of one scene are alike but for a little; scenes are nothing like each other."""
    noise = torch.randn(LAYERS, len(scenes), 7, generator=torch.Generator().manual_seed(1))
    keys = torch.eye(7)[scenes].expand(LAYERS, -1, -1) + 1e-3 * noise
    num_kept = min(num_kept, len(scenes))
    gone = redundant(keys, num_kept)
    assert len(gone) == len(scenes) - num_kept
    kept = [scene for at, scene in enumerate(scenes) if at not in gone]
    num_runs = 1 + sum(a != b for a, b in pairwise(scenes))
    if num_kept >= num_runs:  # then no run of one scene is lost
        assert [s for s, before in zip(kept, [None, *kept], strict=False) if s != before] == [
            s for s, before in zip(scenes, [None, *scenes], strict=False) if s != before
        ]


def test_the_densest_span_is_thinned_next_and_the_oldest_of_equals():
    spans = [Span(0, 64, tuple(range(32))), Span(64, 128, tuple(range(64, 128)))]
    assert thinnest(spans) == spans[1]
    assert thinnest([*spans, Span(128, 192, tuple(range(128, 192)))]) == spans[1]
    assert thinnest([Span(0, 64, (0, 1)), Span(64, 128, (70,))]) is None


def test_after_keep_s_blocks_go(store):
    with memory_of(store, retain_s=100, segment_bytes=1 << 16) as memory:
        for i in range(300):
            memory.append(block(i))
        oldest_s = memory.stats().from_s
        assert 299 - 100 - 80 < oldest_s <= 299 - 100
        assert memory.stats().ageing.dropped == memory.first_block


def test_keep_looks_at_all_spans_only_when_one_may_go_and_misses_none(store, monkeypatch):
    with memory_of(store, retain_s=100, segment_bytes=1 << 16) as memory:
        spans, looks = memory._store.spans, []
        monkeypatch.setattr(memory._store, "spans", lambda: looks.append(0) or spans())
        for i in range(400):
            memory.append(block(i))
            old = [span for span in spans() if span.block_ids[-1] < i - NEWEST]
            assert not old or memory.info(old[0].block_ids[-1]).end_s >= i - 100
            if i % 90 == 80:
                first = memory.stats().from_s
                memory.forget(first + 5, first + 20)  # the oldest span, or some of it, changes
        assert memory.stats().ageing.dropped
        num_closed = memory.first_block // 16
        assert len(looks) < 100 + 2 * num_closed


@given(st.integers(-1, 41), st.integers(0, 20))
@settings(max_examples=20)
def test_a_forgotten_range_is_gone_and_the_rest_is_as_it_was(tmp_path_factory, from_s, length_s):
    blocks = kv_stream(40)
    folder = tmp_path_factory.mktemp("store")
    store = f"file://{folder}"
    with memory_of(store, codec="exact") as memory:
        for one in blocks:
            memory.append(one)
        gone = [
            i
            for i, one in enumerate(blocks)
            if one.info.start_s <= from_s + length_s and one.info.end_s >= from_s
        ]
        assert memory.forget(from_s, from_s + length_s) == len(gone)
        assert memory.append(kv_block(end_s=40.0, seed=99)) == 40
    on_disk = b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())
    with memory_of(store, codec="exact") as memory:
        kept = [i for i in range(40) if i not in gone]
        assert memory.visible(None) == [*kept, 40]
        for layer, (keys, _) in enumerate(read(memory, kept)):
            wanted = [blocks[i].keys[layer] for i in kept]
            assert torch.equal(keys, torch.cat([keys[:, :0], *wanted], dim=1))
        for i in gone:
            assert blocks[i].thumbnail + b"\xff" not in on_disk
            assert blocks[i].keys[0].numpy().tobytes() not in on_disk
            for use in (memory.thumbnail, memory.info):
                with pytest.raises(BlockNotFoundError):
                    use(i)


def known(memory):
    """All that a memory knows of its blocks."""
    ids = memory.visible(None)
    keys = memory.representative_keys(ids)
    stats = replace(memory.stats(), index_bytes=0)
    return ids, [memory.info(i).end_s for i in ids], memory.visible(50.0), keys.tolist(), stats


@pytest.mark.parametrize("fails_at", [0, 1, 2, None])
def test_forgetting_at_once_is_forgetting_span_by_span_also_if_it_fails_midway(
    store, fails_at, monkeypatch
):
    def refusing(replace_span, calls):
        def refuse(block_ids, records):
            calls.append(block_ids)
            if len(calls) - 1 == fails_at:
                raise StoreError("no space left")
            replace_span(block_ids, records)

        return refuse

    def one_by_one(memory):
        """Each span is known to be replaced before the next one is."""
        whole = memory._keep_only
        return lambda kept_of: [whole([one]) for one in kept_of]

    outcomes, blocks = [], [block(i) for i in range(200)]
    for name in ("once", "each"):
        url = store if store == "memory://" else f"{store}/{name}"
        with memory_of(url, 1 << 22, segment_bytes=1 << 16) as memory:
            for one in blocks:
                memory.append(one)
            memory.read(0, range(100), torch.float32, CPU)
            if name == "each":
                monkeypatch.setattr(memory, "_keep_only", one_by_one(memory))
            with monkeypatch.context() as patched:
                calls = []
                refuse = refusing(memory._store.replace, calls)
                patched.setattr(memory._store, "replace", refuse)
                if fails_at is None:
                    assert memory.forget(20.0, 180.0) == 161
                else:
                    with pytest.raises(StoreError, match="no space left"):
                        memory.forget(20.0, 180.0)
            assert len(calls) > 1 or fails_at == 0
            outcomes.append(known(memory))
            kept = memory.visible(None)
            read(memory, kept)
            assert kept == [i for span in memory._store.spans() for i in span.block_ids]
    assert outcomes[0] == outcomes[1]


def test_forgetting_many_spans_passes_over_what_is_known_once(store, monkeypatch):
    with memory_of(store, 1 << 22, segment_bytes=1 << 16) as memory:
        for i in range(200):
            memory.append(block(i))
        drop, passes = memory._index.drop, []
        monkeypatch.setattr(memory._index, "drop", lambda gone: passes.append(gone) or drop(gone))
        assert memory.forget(20.0, 180.0) == 161
        assert [len(gone) for gone in passes] == [161]


def test_spans_of_a_few_blocks_thin_out_evenly_and_the_past_does_not_end_earlier(store):
    with memory_of(store, codec="int4") as memory:
        blocks = [kv_block(tokens=400, seed=i) for i in range(7)]
        for i in range(250):
            info = replace(blocks[i % 7].info, start_s=float(i), end_s=float(i))
            memory.append(replace(blocks[i % 7], info=info))
        stats = memory.stats()
        assert stats.ageing.dropped == 0
        assert stats.ageing.thinned > 0
        kept = memory.visible(None)
        assert kept[0] == 0
        gaps = [after - before for before, after in pairwise(kept[:-NEWEST])]
        assert max(gaps) <= 2 / SPARSEST
