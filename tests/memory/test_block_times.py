"""BlockTimes equals a list of block infos, whatever comes and goes."""

from dataclasses import dataclass

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from memory.block_times import BlockTimes


@dataclass
class Info:
    start_s: float
    end_s: float
    captured_at: float


def info(number: float) -> Info:
    return Info(number, number + 1, number + 1000)


@given(st.lists(st.integers(1, 3), max_size=40), st.data())
def test_times_are_those_of_the_blocks_that_are_left(steps: list[int], data: st.DataObject) -> None:
    times, kept, newest = BlockTimes(), dict[int, Info](), 0
    for step in steps:
        newest += step
        kept[newest] = info(newest)
        times.append(newest, kept[newest])
        if gone := data.draw(st.sets(st.sampled_from(sorted(kept)), max_size=3)):
            times.drop(gone)
            kept = {one: of for one, of in kept.items() if one not in gone}
    if kept:
        again = data.draw(st.sampled_from(sorted(kept)))
        kept[again] = Info(*(value - 0.25 for value in vars(kept[again]).values()))
        times.replace(again, kept[again])
    at_s, from_s = data.draw(st.tuples(*[st.none() | st.floats(0, 120)] * 2))
    seen = times.seen(at_s, from_s)
    assert list(seen) == [
        one
        for one, of in kept.items()
        if (at_s is None or of.end_s <= at_s) and (from_s is None or of.end_s >= from_s)
    ]
    for some in (seen, data.draw(st.permutations(sorted(kept)))):
        expected = [[*vars(kept[one]).values()] for one in some]
        np.testing.assert_array_equal(times.of(some), np.array(expected).reshape(-1, 3).T)


def test_times_of_a_range_are_those_of_its_blocks() -> None:
    times = BlockTimes()
    for number in (1, 3, *range(5, 15), 17):
        times.append(number, info(number))
    for some in (range(6, 12), range(5, 15, 3), range(1, 4, 2), range(14, 5, -2), range(8, 8)):
        np.testing.assert_array_equal(times.of(some), times.of(list(some)))
        assert times.of(some)[0].tolist() == list(some)
