from hypothesis import given, settings
from hypothesis import strategies as st

from eval.stream_world import History, write_script

LENGTH_S = 150


@given(st.integers(0, 10_000), st.integers(0, LENGTH_S - 1))
@settings(max_examples=60)
def test_a_cut_history_reads_like_one_that_never_knew_more(seed: int, last: int) -> None:
    script = write_script(seed, LENGTH_S)
    cut = History.of(script).until(last)
    short = History(script.moments[: last + 1], script.names, script.needles)
    assert (cut.now, cut.last) == (short.now, short.last)
    assert cut.names == short.names
    assert cut.unseen == short.unseen
    assert cut.needles == short.needles
    assert cut.entries == short.entries
    assert cut.events(1) == short.events(1)
    for name in script.names:
        assert cut.appearances(name) == short.appearances(name)
        assert cut.sightings(name) == short.sightings(name)


@given(st.integers(0, 10_000))
@settings(max_examples=20)
def test_sightings_are_the_frames_that_show_the_object(seed: int) -> None:
    script = write_script(seed, LENGTH_S)
    history = History.of(script)
    for name in script.names:
        shown = [i for i, moment in enumerate(script.moments) if moment.find(name)]
        assert history.sightings(name) == shown
        assert (name in history.names) == bool(shown) == (name not in history.unseen)


def test_cutting_leaves_the_whole_as_it_was() -> None:
    history = History.of(write_script(1, LENGTH_S))
    history.until(3)
    assert history.last == LENGTH_S - 1
