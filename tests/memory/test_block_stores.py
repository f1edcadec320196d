"""What every store of blocks has to agree with."""

import dataclasses
from contextlib import ExitStack, closing

import pytest
from kv_blocks import kv_record

from memory import BlockNotFoundError, MemoryConfig
from memory.block_store import SPAN_BLOCKS
from memory.tiers.tier import TIERS, tier_of

SERVERS = ("redis", "valkey", "object", "s3")
SAME = ("gs", "rediss", "sentinel", "unix")
"""One of these in another way."""
OTHERS = sorted({*TIERS.names()} - {*SERVERS, *SAME, "file"})


@pytest.fixture(params=["file", *SERVERS, *OTHERS])
def open_store(request, tmp_path):
    """Opens an empty store, whose spans are `SPAN_BLOCKS` long."""
    if request.param in SERVERS:
        address = request.getfixturevalue(f"{request.param}_server").url
    else:
        address = tmp_path.as_uri() if request.param == "file" else f"{request.param}://"
    tier = tier_of(address)
    with ExitStack() as opened:

        def open_empty(budget_bytes=None):
            wanted = {"segment_bytes": SPAN_BLOCKS * len(record(0).to_bytes())}
            if budget_bytes is not None:
                wanted[tier.budget or "host_bytes"] = budget_bytes
            config = MemoryConfig(store=address).model_copy(update=wanted)
            entry = opened.enter_context(closing(tier.enter("camera", record(0).head.provenance)))
            store = opened.enter_context(closing(tier.blocks(entry, config)))
            assert list(store.recover()) == []
            return store

        yield open_empty


def record(block_id):
    return kv_record(seed=block_id)


def changed(block_id):
    return dataclasses.replace(record(block_id), rows=(b"new" * 20, b"row" * 20))


def filled(store, num_blocks=150):
    for block_id in range(num_blocks):
        store.put(record(block_id))
    return store


def test_rows_pictures_and_records_are_those_that_were_put(open_store):
    store = filled(open_store(), 70)
    assert store.next_id == 70
    for layer in (0, 1):
        wanted = [record(i).rows[layer] for i in (69, 0, 69, 1)]
        assert store.read_rows(layer, [69, 0, 69, 1]) == wanted
    assert store.read_thumbnails([5, 5]) == [record(5).thumbnail] * 2
    assert store.read_record(64).to_bytes() == record(64).to_bytes()


def test_spans_cover_the_closed_part_of_the_stream_in_order(open_store):
    store = filled(open_store())
    spans = store.spans()
    ids = [block_id for span in spans for block_id in span.block_ids]
    assert ids == list(range(len(ids)))
    assert len(spans) == 2
    assert all(span.first <= span.block_ids[0] for span in spans)
    assert [a.end for a in spans[:-1]] == [b.first for b in spans[1:]]
    assert all(span.density == 1 for span in spans)


def test_a_replaced_span_has_what_replaced_it_and_nothing_else(open_store):
    store = filled(open_store())
    span, other = store.spans()
    before = store.num_bytes
    store.replace(span.block_ids, {i: changed(i) for i in span.block_ids[::2]})
    assert store.read_rows(1, [0, 2]) == [changed(0).rows[1], changed(2).rows[1]]
    assert store.num_bytes < before
    for lost in (1, 3):
        with pytest.raises(BlockNotFoundError):
            store.read_rows(0, [lost])
    assert store.spans()[0].density == pytest.approx(0.5, abs=0.02)
    store.replace(store.spans()[0].block_ids, {})
    assert [span.block_ids for span in store.spans()] == [other.block_ids]
    assert store.read_rows(0, [other.block_ids[0], 149]) == [
        record(other.block_ids[0]).rows[0],
        record(149).rows[0],
    ]
    store.put(record(150))
    assert store.next_id == 151


def test_within_has_room_the_budget_holds_whatever_is_done(open_store):
    budget_bytes = 200 * len(record(0).to_bytes())
    store = open_store(budget_bytes)
    for block_id in range(400):
        if not store.has_room(record(block_id)):
            store.close_span()
            store.replace(store.spans()[0].block_ids, {})
        store.put(record(block_id))
        assert store.num_bytes <= budget_bytes


@pytest.mark.parametrize("wrong", [-1, 3, 99])
def test_a_block_that_never_was_is_named(open_store, wrong):
    with pytest.raises(BlockNotFoundError, match=str(wrong)):
        filled(open_store(), 3).read_rows(0, [0, wrong])


def test_what_is_noted_with_a_block_is_there_and_measured(open_store):
    store = open_store()
    assert store.state() == {}
    store.put(record(0))
    before = store.num_bytes
    store.put(dataclasses.replace(record(1), noted={"kept": b"one", "gone": b"two"}))
    store.note({"kept": b"three", "gone": None, "late": b""})
    assert store.state() == {"kept": b"three", "late": b""}
    assert store.num_bytes - before >= record(1).num_bytes + len("kept" + "three" + "late")


def test_notes_outlive_their_block(open_store):
    store = open_store()
    store.put(dataclasses.replace(record(0), noted={"name": b"value"}))
    store.close_span()
    [span] = store.spans()
    store.replace(span.block_ids, {})
    assert store.state() == {"name": b"value"}
