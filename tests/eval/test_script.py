from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from eval.stream_world import Kind, write_script

seeds = st.integers(0, 10_000)


@given(seeds, st.integers(1, 150), st.integers(1, 150))
@settings(max_examples=25, deadline=None)
def test_a_longer_stream_begins_with_the_shorter_one(seed: int, a: int, b: int) -> None:
    shorter, longer = sorted((a, b))
    moments = write_script(seed, longer).moments
    assert len(moments) == longer
    assert moments[:shorter] == write_script(seed, shorter).moments


def test_streams_of_different_seeds_differ() -> None:
    assert len({write_script(seed, 30).moments for seed in range(10)}) == 10


@given(seeds)
@settings(max_examples=25, deadline=None)
def test_objects_stay_in_the_frame_and_appear_once_at_a_time(seed: int) -> None:
    for moment in write_script(seed, 130).moments:
        names = [item.name for item in moment.items]
        assert len(names) == len(set(names)) <= 4
        for item in moment.items:
            assert 0.1 < item.x < 0.9
            assert 0.1 < item.y < 0.9
            assert (item.color is not None) == (item.kind is Kind.SHAPE)
            assert (item.number is not None) == (item.kind is Kind.SIGN)


@given(seeds)
@settings(max_examples=25, deadline=None)
def test_a_visit_changes_nothing_but_place_and_colour(seed: int) -> None:
    for before, after in pairwise(write_script(seed, 80).moments):
        for item in after.items:
            old = before.find(item.name)
            if old is not None and old.track == item.track:
                assert (old.size, old.style, old.number) == (item.size, item.style, item.number)
                assert abs(old.x - item.x) < 0.1
                assert abs(old.y - item.y) < 0.1


def test_an_hour_brings_many_objects_and_brings_them_back() -> None:
    moments = write_script(3, 3600).moments
    names = {item.name for moment in moments for item in moment.items}
    early = {item.name for moment in moments[:600] for item in moment.items}
    late = {item.name for moment in moments[3000:] for item in moment.items}
    assert len(names) > 60
    assert early & late


def test_only_the_emoji_that_were_asked_for_appear() -> None:
    moments = write_script(5, 300, styles=("twemoji",), emoji=("dog", "cat", "key")).moments
    shown = [item for m in moments for item in m.items if item.kind is Kind.EMOJI]
    assert {item.name for item in shown} == {"dog", "cat", "key"}
    assert {item.style for item in shown} == {"twemoji"}
