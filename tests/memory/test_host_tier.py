import pytest
from kv_blocks import kv_record

from memory import BlockNotFoundError, HostTier

BLOCK_BYTES = sum(map(len, kv_record().rows))


def tier_with(num_blocks, budget_blocks=5):
    tier = HostTier(budget_blocks * BLOCK_BYTES)
    for block_id in range(num_blocks):
        tier.put(block_id, kv_record(seed=block_id))
    return tier


def test_rows_come_back_in_the_order_asked_for():
    rows = tier_with(3).read_rows(1, [2, 0, 2])
    assert rows == [kv_record(seed=block_id).rows[1] for block_id in (2, 0, 2)]


def test_bytes_are_counted_as_blocks_come_and_go():
    tier = tier_with(3)
    assert tier.num_bytes == 3 * BLOCK_BYTES
    tier.drop_block(1, layers=2)
    assert tier.num_bytes == 2 * BLOCK_BYTES
    assert not tier.holds(0, 1)
    assert tier.holds(0, 2)


def test_nothing_is_forgotten_within_the_budget():
    tier = tier_with(5, budget_blocks=5)
    tier.evict()
    assert tier.num_bytes == 5 * BLOCK_BYTES


def test_what_was_not_used_for_longest_is_evicted_first():
    tier = tier_with(5, budget_blocks=5)
    tier.read_rows(0, [0, 1])
    tier.put(5, kv_record(seed=5))
    tier.evict()
    gone = {(layer, i) for layer in (0, 1) for i in range(6) if not tier.holds(layer, i)}
    assert gone == {(1, 0), (1, 1)}
    assert tier.num_bytes == 5 * BLOCK_BYTES


def test_a_row_that_is_not_there_is_named():
    with pytest.raises(BlockNotFoundError, match="layer 1 of block 7"):
        tier_with(1).read_rows(1, [0, 7])
