"""A history in parts is what a look at every block tells; of a long one the counts stay exact."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from kv_blocks import kv_block, memory_of

from app.server.timeline_routes import timeline_of

BLOCKS = 60


def memory_with(ends_s, gone=()):
    memory = memory_of()
    for seed, end_s in enumerate(ends_s):
        memory.append(kv_block(tokens=1, end_s=end_s, seed=seed % 7))
    for first, below in gone:
        memory.forget(first, below)
    return memory


def by_hand(memory, ids, parts):
    """Part by part, every block against the one before it."""
    infos = [memory.info(block_id) for block_id in ids]
    first_s, last_s = infos[0].start_s, infos[-1].end_s
    part_s = max((last_s - first_s) / parts, 1.0)
    keys = memory.representative_keys(ids)
    told = {}
    for at, info in enumerate(infos):
        number = min(parts - 1, int((info.end_s - first_s) / part_s))
        change = 0.0
        if at:
            likeness = torch.cosine_similarity(keys[:, at], keys[:, at - 1], dim=-1).mean()
            change = min(1.0, max(0.0, 1 - float(likeness)))
        count, before, _ = told.get(number, (0, -1.0, 0.0))
        best = (change, info.end_s) if change > before else told[number][1:]
        told[number] = (count + 1, *best)
    return [(first_s + n * part_s, *told[n]) for n in sorted(told)]


steps_s = st.lists(st.sampled_from([0.5, 1.0, 1.0, 1.0, 7.0]), min_size=1, max_size=BLOCKS)
spans = st.tuples(st.floats(0, 80), st.floats(0, 80)).map(sorted)
holes = st.lists(st.tuples(st.integers(0, BLOCKS), st.integers(1, 9)), max_size=3)


def ends_of(steps):
    at_s, ends_s = 0.0, []
    for step in steps:
        at_s += step
        ends_s.append(at_s)
    return ends_s


@given(steps=steps_s, span=spans, parts=st.integers(1, 50), gaps=holes)
def test_parts_are_what_a_look_at_every_block_tells(steps, span, parts, gaps):
    with memory_with(ends_of(steps), [(first, first + count) for first, count in gaps]) as memory:
        ids = memory.visible(span[1], span[0])
        seen = timeline_of("door", memory, ids, parts, most=parts * BLOCKS)
        if not ids:
            assert seen.parts == []
            return
        wanted = by_hand(memory, ids, parts)
        assert [(p.from_s, p.blocks) for p in seen.parts] == [one[:2] for one in wanted]
        assert [p.change for p in seen.parts] == pytest.approx([o[2] for o in wanted], abs=1e-5)
        for part, (_, _, change, change_s) in zip(seen.parts, wanted, strict=True):
            assert part.change_s == change_s or change < 1e-5  # equals, but for rounding


@given(steps=steps_s, span=spans, parts=st.integers(1, 20), most=st.integers(1, 60), gaps=holes)
def test_where_not_all_are_compared_all_are_counted_and_none_is_from_elsewhere(
    steps, span, parts, most, gaps
):
    with memory_with(ends_of(steps), [(first, first + count) for first, count in gaps]) as memory:
        ids = memory.visible(span[1], span[0])
        compared = []
        keys_of = memory.representative_keys
        memory.representative_keys = lambda some: compared.extend(some) or keys_of(some)
        seen = timeline_of("door", memory, ids, parts, most)
        assert sum(part.blocks for part in seen.parts) == len(ids)
        assert set(compared) <= set(ids)
        assert compared == sorted(compared)
        assert compared[-1:] == ids[-1:]
        ends_s = {memory.info(block_id).end_s for block_id in ids}
        assert {part.change_s for part in seen.parts} <= ends_s
        for part in seen.parts:
            assert part.from_s - 1e-6 <= part.change_s <= part.to_s + 1e-6
        exact = timeline_of("door", memory, ids, parts, most=parts * BLOCKS)
        assert [p.blocks for p in seen.parts] == [p.blocks for p in exact.parts]


def test_so_many_of_a_long_history_are_compared_and_no_more():
    with memory_with(map(float, range(400))) as memory:
        compared = []
        keys_of = memory.representative_keys
        memory.representative_keys = lambda some: compared.extend(some) or keys_of(some)
        timeline_of("door", memory, memory.visible(None), parts=10, most=50)
        assert 25 <= len(compared) <= 70
        first = set(compared)
        compared.clear()
        memory.append(kv_block(tokens=1, end_s=400.0))
        timeline_of("door", memory, memory.visible(None), parts=10, most=50)
        # The newest is always looked at; of the others the same as before.
        assert set(compared) - first == {400}
