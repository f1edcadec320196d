import pytest
from hypothesis import given
from hypothesis import strategies as st
from kv_blocks import kv_record

from memory import RowCache

ROW_BYTES = len(kv_record().rows[0])


def cache_with(num_blocks, budget_rows=10):
    cache = RowCache(budget_rows * ROW_BYTES)
    for block_id in range(num_blocks):
        cache.put(kv_record(seed=block_id))
    return cache


def held(cache, num_blocks):
    return {(layer, i) for layer in (0, 1) for i in cache.rows(layer, range(num_blocks))}


def test_rows_are_those_that_were_put():
    rows = cache_with(3).rows(1, [2, 0, 7])
    assert rows == {i: kv_record(seed=i).rows[1] for i in (2, 0)}


def test_what_was_not_used_for_longest_makes_room():
    cache = cache_with(5)
    cache.rows(0, [0, 1])
    cache.put(kv_record(seed=5))
    everything = {(layer, i) for layer in (0, 1) for i in range(6)}
    assert everything - held(cache, 6) == {(1, 0), (1, 1)}


@given(st.lists(st.integers(0, 9), unique=True), st.integers(0, 12))
def test_the_budget_is_never_exceeded_and_bytes_are_counted(block_ids, budget_rows):
    cache = RowCache(budget_rows * ROW_BYTES)
    for block_id in block_ids:
        cache.put(kv_record(seed=block_id))
        assert cache.num_bytes <= cache.budget_bytes
        assert cache.num_bytes == ROW_BYTES * len(held(cache, 10))
    cache.forget(block_ids, layers=2)
    assert cache.num_bytes == 0


def test_a_row_larger_than_the_budget_is_not_kept():
    cache = RowCache(ROW_BYTES - 1)
    cache.put(kv_record())
    assert cache.num_bytes == 0


def test_a_forgotten_row_can_be_put_again():
    cache = cache_with(2)
    cache.forget([1], layers=2)
    assert held(cache, 2) == {(0, 0), (1, 0)}
    cache.put(kv_record(seed=1))
    assert len(held(cache, 2)) == 4
    with pytest.raises(AssertionError):
        cache.put(kv_record(seed=1))
