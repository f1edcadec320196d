"""What was compared with words before gives the same stretch as comparing everything again."""

from contextlib import contextmanager
from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from kv_blocks import CPU, HEAD_DIM, KV_HEADS, LAYERS, kv_block

from memory import HostTier, KVMemory, Provenance
from memory.aging_memory import KeepPolicy
from memory.block_facts import BlockFacts, Compared
from memory.locks import Rank
from vstream.device.work import FairLock
from vstream.search.stretch_blocks import blocks_of

WORDS = [("an owl", (0, 1)), ("an owl", (1,)), ("a cup", (0, 1))]
TIMES = st.none() | st.integers(0, 120)


def turned(block, block_id, state):
    """Another block in its place."""
    return replace(block, keys=block.keys.flip(-1) + 1)


KEPT = {
    "all": {},
    "for a while": {"retain_s": 30.0},
    "some": {"keep_blocks": 24},
    "rewritten": {"keep_newest": 4, "rewrite": turned},
}


@contextmanager
def memory_of(num_blocks=0, **policy):
    provenance = Provenance("model", LAYERS, KV_HEADS, HEAD_DIM)
    with KVMemory(provenance, CPU, HostTier(1 << 30), KeepPolicy("exact", **policy)) as memory:
        append(memory, num_blocks)
        yield memory


def append(memory, count):
    for number in range(memory.num_blocks, memory.num_blocks + count):
        memory.append(kv_block(end_s=float(number), seed=number))


def queries():
    made = torch.randn(len(WORDS), LAYERS, KV_HEADS * HEAD_DIM, generator=seeded()).numpy()
    return {words: query[list(words[1])] for words, query in zip(WORDS, made, strict=True)}


def seeded():
    return torch.Generator().manual_seed(5)


QUERIES = queries()


def stretch(memory, words=WORDS[0], within=(None, None)):
    return blocks_of(memory, FairLock(Rank.DEVICE), words, QUERIES[words], within)


@contextmanager
def knowing_nothing(memory):
    facts, memory.facts = memory.facts, BlockFacts()
    yield
    memory.facts = facts


def require_same(one, other):
    for field in fields(one):
        np.testing.assert_array_equal(getattr(one, field.name), getattr(other, field.name))


STEPS = st.one_of(
    st.tuples(st.just("append"), st.integers(1, 20)),
    st.tuples(st.just("forget"), st.integers(0, 100), st.integers(0, 9)),
    st.just(("age",)),
    st.tuples(st.just("ask"), st.sampled_from(WORDS), st.tuples(TIMES, TIMES)),
)


@settings(max_examples=60)
@given(st.sampled_from(list(KEPT)), st.lists(STEPS, min_size=4, max_size=25))
def test_what_is_known_gives_what_all_blocks_give(kept, steps):
    with memory_of(**KEPT[kept]) as memory:
        for step, *of in [*steps, ("ask", WORDS[0], (None, None))]:
            if step == "append":
                append(memory, *of)
            elif step == "forget":
                memory.forget(of[0], sum(of))
            elif step == "age":
                memory._store.close_span()
                memory._age()
            else:
                found = stretch(memory, *of)
                with knowing_nothing(memory):
                    require_same(found, stretch(memory, *of))
            for words in WORDS:
                known = memory.facts.compared(words)
                assert known is None or set(known.ids) <= set(memory.visible(None))


def test_stretches_one_before_and_one_after_the_other_are_compared_in_any_order():
    with memory_of(30) as memory:
        for within in ((8, 12), (0, 4), (20, 25), (None, None)):
            found = stretch(memory, within=within)
            with knowing_nothing(memory):
                require_same(found, stretch(memory, within=within))


def test_only_new_blocks_are_compared(monkeypatch):
    with memory_of(30) as memory:
        read, keys_of = [], memory.representative_keys
        monkeypatch.setattr(
            memory, "representative_keys", lambda ids, of: read.extend(ids) or keys_of(ids, of)
        )

        def compared(**options):
            read.clear()
            stretch(memory, **options)
            return list(read)

        assert compared() == [*range(30)]
        assert compared(within=(5, 20)) == compared(within=(20, None)) == compared() == []
        append(memory, 2)
        assert compared(within=(8, None)) == [29, 30, 31]
        memory.forget(0, 3)  # rewrites all of its span
        assert compared() == [*range(4, 32)]
        memory._store.close_span()
        append(memory, 2)
        memory.forget(33, 33)
        assert compared(words=WORDS[2]) == [*range(4, 33)]
        assert compared() == [31, 32]
        assert compared() == compared(words=WORDS[2]) == []


@pytest.mark.parametrize("change", ["forget", "rewrite"])
def test_what_changes_meanwhile_is_not_remembered(monkeypatch, change):
    monkeypatch.setattr("vstream.search.stretch_blocks._AT_ONCE", 4)
    with memory_of(20, keep_newest=1, rewrite=turned) as memory:
        keys_of = memory.representative_keys

        def read(ids, layers):
            keys = keys_of(ids, layers)
            if 9 in ids:
                monkeypatch.undo()
                memory.forget(2, 3) if change == "forget" else append(memory, 12)
            return keys

        monkeypatch.setattr(memory, "representative_keys", read)
        stretch(memory)
        found = stretch(memory)
        with knowing_nothing(memory):
            require_same(found, stretch(memory))


def test_what_was_compared_with_another_query_of_the_same_words_is_compared_again():
    with memory_of(9) as memory:
        stretch(memory)
        known = memory.facts.compared(WORDS[0])
        memory.facts.put_compared(
            WORDS[0], replace(known, query=-known.query, scores=-known.scores)
        )
        found = stretch(memory)
        with knowing_nothing(memory):
            require_same(found, stretch(memory))


def test_what_is_compared_is_bounded_and_the_words_asked_about_first_go_first(monkeypatch):
    one = Compared(np.ones((2, 4), np.float32), np.arange(8), np.ones(8), np.ones(8))
    monkeypatch.setattr("memory.block_facts.MOST_COMPARED_BYTES", 2 * one.num_bytes)
    facts = BlockFacts()
    for words in (WORDS[0], WORDS[1], WORDS[0], WORDS[2]):
        facts.put_compared(words, one)
    assert [facts.compared(words) for words in WORDS] == [one, None, one]
    facts.drop([2])
    left = facts.compared(WORDS[0])
    assert left.ids.tolist() == [3, 4, 5, 6, 7]
    assert left.ids.base is None, "nothing stays of what was dropped"
    facts.drop(range(9))
    assert facts.compared(WORDS[0]) is None
