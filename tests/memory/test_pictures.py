"""The pictures beside the blocks: the newest ones within their budget, none of what is gone."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from kv_blocks import CPU, HEAD_DIM, KV_HEADS, LAYERS, keeping_newest, kv_block

from memory import MemoryConfig, open_memory
from memory.block_store import SPANS_IN_BUDGET

NEWEST = 4
BUDGET = 16_000
MOST = 400
"""Bytes of a picture."""


@pytest.fixture(scope="module", params=["memory", "file", "redis"])
def new_store(request, tmp_path_factory):
    """Addresses of empty stores."""

    def made():
        if request.param == "memory":
            return "memory://"
        if request.param == "file":
            return f"file://{tmp_path_factory.mktemp('store')}"
        server = request.getfixturevalue("running_redis")
        with server.client() as client:
            client.flushall()
        return server.url

    return made


def opened(store, picture_bytes=BUDGET, **more):
    config = MemoryConfig(store=store, segment_bytes=1 << 16, codec="exact", **more)
    config = config.model_copy(update={"picture_bytes": picture_bytes})
    policy = keeping_newest(NEWEST)
    return open_memory(config, "camera", "model", LAYERS, KV_HEADS, HEAD_DIM, CPU, policy)


def pictured(number, num_bytes):
    """A block whose picture no other has."""
    shown = f"<{number}>".encode().ljust(num_bytes, b"\xff")
    return replace(kv_block(end_s=float(number), seed=number), thumbnail=shown)


def written(memory, sizes, first=0):
    blocks = [pictured(first + i, size) for i, size in enumerate(sizes)]
    for block in blocks:
        memory.append(block)
    return blocks


def pictures(memory):
    ids = memory.visible(None)
    return dict(zip(ids, memory.thumbnails(ids), strict=True))


def require_newest(memory, blocks):
    """Those that are there are the newest, as they were, and counted; the others are empty."""
    kept = pictures(memory)
    there = [number for number, one in kept.items() if one]
    assert there == list(kept)[len(kept) - len(there) :]
    assert all(kept[number] == blocks[number].thumbnail for number in there)
    assert memory._store.picture_bytes == sum(map(len, kept.values())) <= BUDGET
    return there


sizes = st.lists(st.integers(8, MOST), min_size=1, max_size=120)


@given(sizes, sizes, st.floats(0, 100), st.floats(0, 40))
@settings(max_examples=15)
def test_over_their_budget_the_oldest_go_and_what_is_forgotten_goes(
    new_store, before, after, from_s, length_s
):
    with opened(store := new_store()) as memory:
        blocks = written(memory, before)
        require_newest(memory, blocks)
        memory.forget(from_s, from_s + length_s)
        for number, block in enumerate(blocks):
            if from_s <= block.info.end_s <= from_s + length_s:
                assert number not in memory.visible(None)
        blocks += written(memory, after, len(blocks))
        there = require_newest(memory, blocks)
        _require_gone(store, [one for i, one in enumerate(blocks) if i not in there])
        kept = memory.visible(None)
        for layer in range(LAYERS):
            keys, values = memory.read(layer, kept, torch.float32, CPU)
            assert torch.equal(keys, torch.cat([blocks[i].keys[layer] for i in kept], dim=1))
            assert torch.equal(values, torch.cat([blocks[i].values[layer] for i in kept], dim=1))
    if store == "memory://":
        return
    with opened(store) as again:
        assert require_newest(again, blocks) == there
        blocks += written(again, after, len(blocks))
        require_newest(again, blocks)


def _require_gone(store, blocks):
    if store.startswith("file://"):
        files = Path(store.removeprefix("file://")).rglob("*")
        on_disk = b"".join(path.read_bytes() for path in files if path.is_file())
        assert not [one for one in blocks if one.thumbnail in on_disk]


def test_most_of_the_budget_is_used(new_store):
    with opened(new_store()) as memory:
        blocks = written(memory, [100] * 300)
        for number in range(300, 360):
            blocks += written(memory, [100], number)
            there = require_newest(memory, blocks)
            assert 100 * len(there) >= BUDGET * (SPANS_IN_BUDGET - 2) / SPANS_IN_BUDGET


def test_what_is_found_out_about_blocks_stays_when_their_pictures_go(new_store):
    with opened(new_store()) as memory:
        blocks = written(memory, [200] * 60)
        for number in memory.visible(None):
            memory.facts.put(number, "is strange", float(number))
        blocks += written(memory, [200] * 60, 60)
        assert require_newest(memory, blocks)[0] > 30
        assert [memory.facts.get(i, "is strange") for i in range(60)] == list(range(60))
        assert memory.stats().ageing.dropped == 0
        assert memory.coarser_since is None


def test_after_retention_pictures_go_with_their_blocks(new_store):
    with opened(store := new_store(), None, retain_s=50) as memory:
        blocks = written(memory, [300] * 200)
        kept = memory.visible(None)
        assert 50 <= len(kept) < 50 + 130
        assert pictures(memory) == {i: blocks[i].thumbnail for i in kept}
        assert memory._store.picture_bytes == 300 * len(kept)
        _require_gone(store, blocks[: kept[0]])


def test_in_a_smaller_budget_they_go_as_it_is_opened(new_store):
    if (store := new_store()) == "memory://":
        return
    with opened(store, None) as memory:
        blocks = written(memory, [300] * 300)
        assert memory._store.picture_bytes == 300 * 300
    with opened(store) as memory:
        assert len(require_newest(memory, blocks)) <= BUDGET / 300
        assert memory.visible(None) == list(range(300))


def test_with_room_for_one_the_newest_is_kept(new_store):
    with opened(new_store(), 100) as memory:
        written(memory, [60] * 10)
        assert [i for i, one in pictures(memory).items() if one] == [9]


def test_a_purged_stream_leaves_no_picture(new_store):
    memory = opened(store := new_store())
    blocks = written(memory, [300] * 100)
    memory.erase()
    _require_gone(store, blocks)
