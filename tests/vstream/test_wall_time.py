"""Which blocks were captured in a range of clock time, and what a clock showed at a stream time."""

from collections import Counter
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st
from kv_blocks import kv_block, memory_of

from vstream.times.when import moments_range, stream_range

BASE = 1.7e9
GAPS = st.lists(st.integers(1, 50), min_size=1, max_size=25)
BOUND = st.none() | st.integers(-20, 400).map(lambda s: BASE + s)


def memory_captured_at(times):
    """A block each second of stream time."""
    memory = memory_of()
    for second, captured_at in enumerate(times):
        block = kv_block(tokens=1, end_s=float(second))
        memory.append(replace(block, info=replace(block.info, captured_at=captured_at)))
    return memory


def captured(memory, begin, end):
    from_s, to_s = stream_range(memory, begin, end)
    return [memory.info(i).captured_at for i in memory.visible(to_s, from_s)]


def within(times, begin, end, slack=0.0):
    return [
        t
        for t in times
        if (begin is None or begin + slack <= t) and (end is None or t <= end - slack)
    ]


def rising(gaps):
    times = [BASE]
    for gap in gaps:
        times.append(times[-1] + gap)
    return times


@given(GAPS, BOUND, BOUND)
def test_exactly_the_blocks_captured_then_are_visible(gaps, begin, end):
    times = rising(gaps)
    with memory_captured_at(times) as memory:
        assert captured(memory, begin, end) == within(times, begin, end)


@given(GAPS, BOUND, BOUND, st.integers(0, 24), st.integers(0, 24))
def test_a_hole_in_the_memory_changes_nothing(gaps, begin, end, first, last):
    times = rising(gaps)
    with memory_captured_at(times) as memory:
        memory.forget(float(first), float(last))
        kept = [t for second, t in enumerate(times) if not first <= second <= last]
        assert captured(memory, begin, end) == within(kept, begin, end)


@given(GAPS, BOUND, BOUND, st.data())
def test_a_clock_that_steps_back_a_little_blurs_the_edges_by_as_much(gaps, begin, end, data):
    step = 8.0
    times = [t - data.draw(st.floats(0, step)) for t in rising(gaps)]
    with memory_captured_at(times) as memory:
        found = captured(memory, begin, end)
    assert (
        set(within(times, begin, end, step)) <= set(found) <= set(within(times, begin, end, -step))
    )
    assert Counter(found) <= Counter(times)


def test_nothing_captured_then_shows_nothing():
    with memory_captured_at(rising([10, 10])) as memory:
        for begin, end in [
            (BASE + 1, BASE + 9),
            (None, BASE - 1),
            (BASE + 21, None),
            (BASE, BASE - 5),
        ]:
            assert captured(memory, begin, end) == []
    with memory_of() as empty:
        from_s, to_s = stream_range(empty, None, None)
        assert empty.visible(to_s, from_s) == []


@given(
    st.integers(0, 500),
    st.integers(0, 500),
    st.lists(st.integers(0, 500), min_size=1, max_size=9, unique=True),
)
def test_moments_of_then_are_found_wherever_blocks_are_kept(begin, end, kept):
    """Stream time keeps step with the clock; most of a still picture is in no block."""
    with memory_of() as memory:
        for second in sorted(kept):
            block = kv_block(tokens=1, end_s=float(second))
            memory.append(replace(block, info=replace(block.info, captured_at=BASE + second)))
        assert moments_range(memory, BASE + begin, BASE + end) == (begin, end)
        if begin <= end:
            gone = sum(begin <= second <= end for second in kept)
            assert memory.forget(*moments_range(memory, BASE + begin, BASE + end)) == gone


def test_between_blocks_all_counts_where_stream_time_did_not_keep_step():
    """As of a file that began again an hour later."""
    with memory_captured_at([BASE, BASE + 3600]) as memory:
        from_s, to_s = moments_range(memory, BASE + 60, BASE + 3000)
        assert 0 < from_s < 0.001
        assert 0.499 < to_s < 0.5, "when the other block begins"
        assert moments_range(memory, BASE - 9, BASE) == (0, 0)
        assert moments_range(memory, BASE + 3600, BASE + 3605) == (1, 6)


def test_where_no_block_is_kept_all_moments_are_meant():
    with memory_of() as empty:
        from_s, to_s = moments_range(empty, BASE, BASE)
        assert (from_s, to_s > 9e9) == (0, True)


class CountingMemory:
    """A hundred thousand blocks, of which it counts how many are looked at."""

    def __init__(self, num_blocks):
        self._infos = [kv_block(tokens=1).info] * num_blocks
        self.looks = 0

    def visible(self, at_s, from_s=None):
        assert at_s is None
        assert from_s is None
        return list(range(len(self._infos)))

    def info(self, block_id):
        self.looks += 1
        return replace(self._infos[block_id], end_s=float(block_id), captured_at=BASE + block_id)


def test_few_blocks_are_looked_at_in_a_long_memory():
    memory = CountingMemory(100_000)
    assert stream_range(memory, BASE + 70_000.5, BASE + 80_000) == (70_001.0, 80_000.0)
    assert memory.looks < 50
