"""A stage holds the rows that it was given, in their order, whoever staged what before."""

import threading

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from memory.rows.row_stage import RowStage

CPU = torch.device("cpu")


def made_rows(count, row_bytes, seed):
    noise = torch.Generator().manual_seed(seed)
    numbers = torch.randint(256, (count, row_bytes), dtype=torch.uint8, generator=noise)
    return numbers, [row.numpy().tobytes() for row in numbers]


@given(sizes=st.lists(st.tuples(st.integers(1, 70), st.integers(1, 300)), min_size=1, max_size=4))
def test_rows_of_all_sizes_come_as_they_are_and_stay(sizes):
    stage, kept = RowStage(CPU), []
    for seed, (count, row_bytes) in enumerate(sizes):
        numbers, rows = made_rows(count, row_bytes, seed)
        kept.append((numbers, stage.stack(rows)))
    for numbers, staged in kept:  # what was staged later has not touched it
        assert torch.equal(staged, numbers)


@pytest.mark.parametrize("count", [1, 3, 64])
def test_large_rows_are_gathered_by_several_threads(count):
    numbers, rows = made_rows(count, 205_900, 0)
    assert torch.equal(RowStage(CPU).stack(rows), numbers)


def test_threads_get_their_own_rows():
    stage, failed = RowStage(CPU), []

    def stage_often(seed):
        numbers, rows = made_rows(20, 70_000, seed)
        if not all(torch.equal(stage.stack(rows), numbers) for _ in range(20)):
            failed.append(seed)

    threads = [threading.Thread(target=stage_often, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
