from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from eval.stream_world import Kind, Script, write_script
from eval.stream_world.cast import draw_population
from eval.stream_world.vocabulary import SIGN, emoji_names

seeds = st.integers(0, 10_000)


def frames_of(script: Script, name: str) -> list[int]:
    return [index for index, moment in enumerate(script.moments) if moment.find(name)]


@given(seeds, st.integers(1, 150), st.integers(1, 150))
@settings(max_examples=25)
def test_a_longer_stream_begins_with_the_shorter_one(seed: int, a: int, b: int) -> None:
    shorter, longer = sorted((a, b))
    moments = write_script(seed, longer).moments
    assert len(moments) == longer
    assert moments[:shorter] == write_script(seed, shorter).moments


@given(seeds)
@settings(max_examples=3)
def test_the_needles_of_a_longer_stream_begin_with_those_of_the_shorter_one(seed: int) -> None:
    shorter, longer = write_script(seed, 1500), write_script(seed, 4000)
    assert longer.needles[: len(shorter.needles)] == shorter.needles
    assert longer.moments[:1500] == shorter.moments


def test_streams_of_different_seeds_differ() -> None:
    assert len({write_script(seed, 30).moments for seed in range(10)}) == 10


@given(seeds)
@settings(max_examples=25)
def test_objects_stay_in_the_frame_and_appear_once_at_a_time(seed: int) -> None:
    for moment in write_script(seed, 130).moments:
        names = [item.name for item in moment.items]
        assert len(names) == len(set(names)) <= 4
        for item in moment.items:
            assert item.size / 2 <= min(item.x, item.y, 1 - item.x, 1 - item.y)
            assert (item.color is not None) == (item.kind is Kind.SHAPE)
            assert (item.number is not None) == (item.kind is Kind.SIGN)


@given(seeds)
@settings(max_examples=25)
def test_no_object_ever_covers_another(seed: int) -> None:
    for moment in write_script(seed, 130).moments:
        for one in moment.items:
            for other in moment.items:
                apart = max(abs(one.x - other.x), abs(one.y - other.y))
                assert one is other or apart >= (one.size + other.size) / 2


@given(seeds)
@settings(max_examples=25)
def test_no_shape_has_the_colour_of_its_scene(seed: int) -> None:
    for moment in write_script(seed, 130).moments:
        colors = {item.color for item in moment.items}
        assert moment.backdrop.scene != "night sky" or "black" not in colors
        assert moment.backdrop.scene != "snow" or "white" not in colors


@given(seeds)
@settings(max_examples=25)
def test_a_visit_changes_nothing_but_place_and_colour(seed: int) -> None:
    for before, after in pairwise(write_script(seed, 80).moments):
        for item in after.items:
            old = before.find(item.name)
            if old is not None:
                assert old.track == item.track, "a new visit follows the old one without a gap"
                assert (old.size, old.style, old.number) == (item.size, item.style, item.number)
                assert abs(old.x - item.x) < 0.1
                assert abs(old.y - item.y) < 0.1


def test_an_hour_brings_half_of_the_names_and_brings_them_back() -> None:
    script = write_script(3, 3600)
    shown = {item.name for moment in script.moments for item in moment.items} - {SIGN}
    ordinary = shown - set(script.needles)
    num_names = len(script.names) - 1
    assert 0.45 * num_names < len(ordinary) < 0.55 * num_names
    assert ordinary <= set(script.names)
    early = {item.name for moment in script.moments[:600] for item in moment.items}
    late = {item.name for moment in script.moments[3000:] for item in moment.items}
    assert len(early & late) > 10


def test_two_hours_bring_six_needles_that_come_once_for_three_to_eight_seconds() -> None:
    for seed in range(4):
        script = write_script(seed, 2 * 3600 + 60)
        assert 6 <= len(script.needles) <= 7
        for name in script.needles:
            frames = frames_of(script, name)
            assert frames == list(range(frames[0], frames[-1] + 1))
            assert 3 <= len(frames) <= 8


def test_every_stream_of_ten_minutes_has_a_needle() -> None:
    for seed in range(60):
        script = write_script(seed, 600)
        assert script.needles
        assert all(len(frames_of(script, name)) <= 8 for name in script.needles)


def test_the_time_of_a_needle_differs_from_stream_to_stream() -> None:
    due = {next(draw_population(seed, emoji_names()).needles(seed)).due_s for seed in range(50)}
    assert len(due) > 30


def test_only_the_emoji_that_were_asked_for_appear() -> None:
    cast = ("dog", "cat", "key")
    script = write_script(5, 300, styles=("twemoji",), emoji=cast)
    shown = [item for m in script.moments for item in m.items if item.kind is Kind.EMOJI]
    assert {item.name for item in shown} <= set(cast)
    assert len({item.name for item in shown}) >= 2
    assert {item.style for item in shown} == {"twemoji"}
    assert set(cast) < set(script.names)


def test_other_styles_show_the_same_things() -> None:
    drawn = [
        [(m.backdrop, [(i.name, i.x, i.y) for i in m.items]) for m in script.moments]
        for script in (write_script(9, 200), write_script(9, 200, styles=("twemoji",)))
    ]
    assert drawn[0] == drawn[1]
