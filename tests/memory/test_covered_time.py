"""How much stream time each tier stands for, whatever becomes of its blocks."""

import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from kv_blocks import CPU, HEAD_DIM, KV_HEADS, LAYERS, kv_block, kv_record

from memory import (
    FileTier,
    HostTier,
    KVMemory,
    MemoryConfig,
    Provenance,
    RowCache,
    follow_memory,
    open_memory,
)
from memory.aging_memory import KeepPolicy

MAKE = Provenance("model-a", LAYERS, KV_HEADS, HEAD_DIM)
BLOCK_BYTES = 1200
BUDGET_BYTES = 30 * BLOCK_BYTES


def in_files(folder, cache, retain_s=None):
    """Spans of a few blocks, in a budget of about thirty."""
    tier = FileTier(Path(folder), 4 * BLOCK_BYTES, BUDGET_BYTES)
    return KVMemory(MAKE, CPU, tier, KeepPolicy("int8", 4, retain_s), cache)


def append(memory, step_s):
    """A block `step_s` after the last one's end, that lasts for a part of that."""
    block = kv_block(tokens=8, end_s=memory.newest_s + step_s, seed=memory.num_blocks)
    info = replace(block.info, start_s=block.info.end_s - step_s / 4)
    memory.append(replace(block, info=info))


def counted(memory, cache=None, tier="file"):
    """Seconds by tier, from the blocks themselves."""
    found = {tier: 0.0} if cache is None else {"host": 0.0, tier: 0.0}
    before_s = None
    for block_id in memory.visible(None):
        info = memory.info(block_id)
        stands_s = min(60.0, info.end_s - (info.start_s if before_s is None else before_s))
        found[tier] += stands_s
        if cache and all(cache.rows(layer, [block_id]) for layer in range(LAYERS)):
            found["host"] += stands_s
        before_s = info.end_s
    return found


STEPS_S = st.sampled_from([0.5, 1.0, 7.25, 59.0, 61.0, 4000.0])
DEEDS = st.one_of(
    st.tuples(st.just("append"), st.lists(STEPS_S, min_size=1, max_size=30)),
    st.tuples(st.just("read"), st.lists(st.integers(0, 99), min_size=1, max_size=6)),
    st.tuples(st.just("forget"), st.tuples(st.floats(0, 1), st.floats(0, 0.3))),
    st.tuples(st.just("restore"), st.none()),
)


@given(
    deeds=st.lists(DEEDS, max_size=8),
    cached=st.integers(0, 12),
    retain_s=st.sampled_from([None, 300.0]),
)
@settings(max_examples=60)
def test_the_sums_are_those_of_a_count_of_all_blocks(deeds, cached, retain_s):
    row_bytes = len(kv_record(tokens=8).rows[0])
    with tempfile.TemporaryDirectory() as folder:
        cache = RowCache(cached * row_bytes)
        memory = in_files(folder, cache, retain_s)
        for deed, what in [("append", [1.0] * 3), *deeds]:
            if deed == "append":
                for step_s in what:
                    append(memory, step_s)
            elif deed == "read":
                ids = memory.visible(None)
                for number, at in enumerate(what):
                    if ids:
                        memory.read(number % LAYERS, [ids[at % len(ids)]], torch.float32, CPU)
            elif deed == "forget":
                from_s = what[0] * memory.newest_s
                memory.forget(from_s, from_s + what[1] * memory.newest_s)
            else:
                memory.close()
                cache = RowCache(cached * row_bytes)
                memory = in_files(folder, cache, retain_s)
            wanted = counted(memory, cache)
            assert memory.seconds_by_tier() == pytest.approx(wanted, abs=1e-3)
            assert memory.stats().seconds_by_tier == memory.seconds_by_tier()
        memory.erase()
        assert memory.seconds_by_tier() == {"host": 0, "file": 0}


def test_blocks_that_age_leave_their_time_to_those_that_stay(tmp_path):
    memory = in_files(tmp_path, RowCache(0))
    for _ in range(400):
        append(memory, 1.0)
    stats = memory.stats()
    assert stats.ageing.thinned > 200
    assert stats.ageing.dropped == 0
    assert stats.blocks < 60
    first = memory.info(memory.first_block)
    assert stats.seconds_by_tier["file"] == stats.to_s - first.start_s > 390
    assert memory.seconds_by_tier() == pytest.approx(counted(memory, RowCache(0)))


def test_hours_without_a_picture_are_not_remembered():
    memory = KVMemory(MAKE, CPU, HostTier(1 << 20), KeepPolicy("int8"))
    for step_s in (1.0, 1.0, 7200.0, 1.0):
        append(memory, step_s)
    assert memory.seconds_by_tier() == {"host": 0.25 + 1 + 60 + 1}
    memory.forget(7000, 7300)
    assert memory.seconds_by_tier() == counted(memory, tier="host") == {"host": 0.25 + 1}


def test_the_cache_counts_for_what_it_holds_whole(tmp_path):
    rows = [kv_record(seed=i, tokens=8).rows[0] for i in range(2)]
    cache = RowCache(10 * LAYERS * len(rows[0]))
    memory = in_files(tmp_path, cache)
    for _ in range(20):
        append(memory, 2.0)
    held = memory.seconds_by_tier()["host"]
    assert 0 < held < memory.seconds_by_tier()["file"] == 19 * 2 + 0.5
    memory.read(0, [0], torch.float32, CPU)  # one layer of an old block in place of a newer's
    assert memory.seconds_by_tier()["host"] == held - 2
    for layer in range(1, LAYERS):
        memory.read(layer, [0], torch.float32, CPU)
    assert memory.seconds_by_tier()["host"] == held - 2 + 0.5


def test_whoever_follows_a_stream_counts_the_same(tmp_path):
    config = MemoryConfig(store=f"file://{tmp_path}", host_bytes=1 << 20)
    with open_memory(config, "camera", "model-a", LAYERS, KV_HEADS, HEAD_DIM, CPU) as writer:
        for step_s in (1.0, 3.0, 99.0, 2.0):
            append(writer, step_s)
        with follow_memory(config, "camera", CPU) as reader:
            writer.forget(1.5, 3.9)
            append(writer, 5.0)
            reader.refresh()
            seconds = writer.seconds_by_tier()["file"]
            assert reader.seconds_by_tier() == {"host": 0, "file": seconds}
            assert seconds == counted(writer)["file"]
