from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import Bool, UInt8
from once_renderer import OnceRenderer
from PIL import Image

from eval.stream_world import WORLD_PX, Backdrop, Item, Kind, Moment, Renderer, write_script
from eval.stream_world.backdrops import paint
from eval.stream_world.vocabulary import COLORS, SCENES, cell, emoji_names, shape_names

VISIBLE = 12
"""A step of this many grey levels in one channel can be seen."""
GREY = Backdrop("plain", variant=0, left_px=0, top_px=0, is_flipped=False)
Mask = Bool[np.ndarray, "side side"]


def crowded_moments(seed: int) -> Iterator[Moment]:
    """Some moments of a stream with objects in view."""
    yield from [m for m in write_script(seed, 64).moments if m.items][::16]


def difference(one: Moment, other: Moment, renderer: Renderer) -> UInt8[np.ndarray, "side side"]:
    """By how much two frames differ, in grey levels."""
    first, second = renderer.frame(one).astype(int), renderer.frame(other).astype(int)
    return np.abs(first - second).max(axis=2).astype(np.uint8)


def without(moment: Moment, item: Item) -> Moment:
    return replace(moment, items=tuple(i for i in moment.items if i is not item))


def footprint(item: Item, backdrop: Backdrop, renderer: Renderer, step: int = VISIBLE) -> Mask:
    """The pixels that the object changes, by more than `step`, where it is alone."""
    bare = Moment(0, backdrop, ())
    return difference(replace(bare, items=(item,)), bare, renderer) > step


@given(st.integers(0, 10_000))
@settings(max_examples=20)
def test_every_object_in_view_can_be_seen(seed: int) -> None:
    renderer = OnceRenderer()
    for moment in crowded_moments(seed):
        for item in moment.items:
            own = footprint(item, GREY, renderer)
            assert own.sum() > 0.1 * (item.size * WORLD_PX) ** 2
            removed = difference(moment, without(moment, item), renderer)
            assert (removed[own] > VISIBLE).mean() > 0.3, f"{item.name} melts into its backdrop"


@given(st.integers(0, 10_000))
@settings(max_examples=20)
def test_no_object_covers_much_of_another_and_none_a_sign(seed: int) -> None:
    renderer = OnceRenderer()
    for moment in crowded_moments(seed):
        for item in moment.items:
            own = footprint(item, moment.backdrop, renderer)
            alone = replace(moment, items=(item,))
            same = difference(moment, alone, renderer)[own] <= VISIBLE
            assert same.mean() > (0.97 if item.kind is Kind.SIGN else 0.9), item.name


@given(st.integers(0, 10_000))
@settings(max_examples=20)
def test_every_object_lies_within_the_frame(seed: int) -> None:
    renderer = OnceRenderer()
    for moment in crowded_moments(seed):
        for item in moment.items:
            here = footprint(item, GREY, renderer, 0).sum()
            in_the_middle = footprint(replace(item, x=0.5, y=0.5), GREY, renderer, 0).sum()
            assert here > 0.85 * in_the_middle, item.name  # a turned corner may be cut


@given(st.integers(0, 10_000))
@settings(max_examples=15)
def test_as_many_objects_are_in_the_picture_as_in_the_script(seed: int) -> None:
    renderer = OnceRenderer()
    for moment in crowded_moments(seed):
        changes = [difference(moment, without(moment, i), renderer).max() for i in moment.items]
        assert sum(change > VISIBLE for change in changes) == len(moment.items)
        explained = sum(
            (footprint(i, moment.backdrop, renderer) for i in moment.items), start=False
        )
        bare = replace(moment, items=())
        drawn = difference(moment, bare, renderer) > VISIBLE
        assert not (drawn & ~explained).any(), "something is drawn where no object is"


@given(st.integers(0, 10_000))
@settings(max_examples=20)
def test_the_colour_of_a_shape_can_be_read_from_its_pixels(seed: int) -> None:
    renderer = OnceRenderer()
    for moment in crowded_moments(seed):
        for item in moment.items:
            if item.color is None:
                continue
            own = difference(moment, without(moment, item), renderer) > VISIBLE
            color = np.median(renderer.frame(moment)[own], axis=0)
            nearest = min(COLORS, key=lambda name: np.abs(color - COLORS[name]).sum())
            assert nearest == item.color


@given(st.integers(0, 10_000))
@settings(max_examples=20)
def test_the_place_of_an_object_can_be_read_from_its_pixels(seed: int) -> None:
    renderer = OnceRenderer()
    for moment in crowded_moments(seed):
        for item in moment.items:
            down, right = np.nonzero(footprint(item, GREY, renderer))
            x, y = ((axis.min() + axis.max() + 1) / 2 / WORLD_PX for axis in (right, down))
            off_center = 0.15 if item.kind is Kind.SHAPE else 0.08
            assert abs(x - item.x) < off_center * item.size + 0.01, item.name
            assert abs(y - item.y) < off_center * item.size + 0.01, item.name
            assert item.is_between_cells or cell(x, y) == cell(item.x, item.y), item.name


def test_the_number_of_a_sign_can_be_read_from_its_pixels() -> None:
    renderer, num_signs = Renderer(), 0
    for seed in range(60):
        moment = write_script(seed, 40).moments[-1]
        sign = moment.find("sign")
        if sign is None or num_signs == 6:
            continue
        num_signs += 1
        frame = renderer.frame(moment).astype(int)
        others = {
            number: tuple(replace(i, number=number) if i is sign else i for i in moment.items)
            for number in range(10, 100)
        }
        distance = {
            number: np.abs(renderer.frame(replace(moment, items=items)) - frame).sum()
            for number, items in others.items()
        }
        assert sorted(distance, key=lambda number: distance[number])[0] == sign.number
        runner_up = sorted(distance.values())[1]
        assert runner_up > 500, "two numbers look the same"
    assert num_signs == 6


@given(st.integers(0, 10_000))
@settings(max_examples=6)
def test_the_name_of_an_object_can_be_read_from_its_pixels(seed: int) -> None:
    renderer = Renderer()
    moment = next(crowded_moments(seed), None)
    for item in moment.items if moment else ():
        if item.kind is Kind.SIGN:
            continue
        frame = renderer.frame(moment).astype(int)
        names = emoji_names() if item.kind is Kind.EMOJI else shape_names()
        distance = {}
        for name in names:
            items = tuple(replace(i, name=name) if i is item else i for i in moment.items)
            distance[name] = np.abs(renderer.frame(replace(moment, items=items)) - frame).sum()
        assert min(distance, key=lambda name: distance[name]) == item.name
        assert sorted(distance.values())[1] > 500, "two names look the same"


@given(st.integers(0, 10_000))
@settings(max_examples=15)
def test_what_comes_leaves_moves_and_turns_can_be_read_from_two_frames(seed: int) -> None:
    renderer = OnceRenderer()
    for before, now in pairwise(write_script(seed, 40).moments):
        if before.backdrop != now.backdrop:
            continue
        changed = [i for i in before.items if i not in now.items]
        changed += [i for i in now.items if i not in before.items]
        marks = [footprint(item, now.backdrop, renderer, 0) for item in changed]
        seen = difference(before, now, renderer)
        elsewhere = seen[~np.any(marks, axis=0)] if marks else seen
        assert (elsewhere <= 1).all(), "where two are drawn over each other a level may be rounded"
        for item, mark in zip(changed, marks, strict=True):
            assert seen[mark].any(), f"{item.name} changes unseen"


@pytest.mark.parametrize("scene", SCENES)
def test_the_scene_can_be_read_from_the_mean_colours_of_the_picture(scene: str) -> None:
    def colours(name: str, variant: int) -> np.ndarray:
        rows = np.array_split(paint(name, variant).astype(float), 6)
        return np.concatenate([row.mean((0, 1)) for row in rows])

    known = {name: [colours(name, v) for v in range(16)] for name in SCENES}
    right = 0
    for variant in range(16, 24):
        here = colours(scene, variant)
        nearest = min(known, key=lambda name: min(np.abs(here - c).sum() for c in known[name]))
        right += nearest == scene
    assert right >= 7


def test_two_renderers_draw_the_same_frame() -> None:
    moment = write_script(1, 20).moments[-1]
    assert np.array_equal(Renderer().frame(moment), Renderer().frame(moment))


def test_a_large_frame_scaled_down_shows_the_same() -> None:
    moment = next(m for m in write_script(3, 600).moments if len(m.items) > 1)
    large = Image.fromarray(Renderer(384).frame(moment))
    scaled = np.asarray(large.resize((WORLD_PX, WORLD_PX), Image.Resampling.BILINEAR)).astype(int)
    assert np.abs(scaled - Renderer().frame(moment)).mean() < 6


def test_a_red_shape_is_drawn_red() -> None:
    moments = write_script(2003, 150).moments
    shape = next(i for m in moments for i in m.items if i.kind is Kind.SHAPE)
    item = replace(shape, name="square", color="red", x=0.5, y=0.5, rotation=0.0)
    frame = Renderer().frame(replace(moments[0], items=(item,)))
    assert frame[WORLD_PX // 2, WORLD_PX // 2] == pytest.approx((220, 30, 35), abs=12)


def test_backdrops_differ_by_scene_and_variant_but_not_by_call() -> None:
    paintings = {paint(scene, variant).tobytes() for scene in SCENES for variant in range(3)}
    assert len(paintings) == 3 * len(SCENES)
    assert np.array_equal(paint("city", 1), paint("city", 1))
