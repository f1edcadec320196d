from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from jaxtyping import UInt8
from PIL import Image

from eval.stream_world import WORLD_PX, Kind, Moment, Renderer, write_script
from eval.stream_world.backdrops import paint
from eval.stream_world.vocabulary import SCENES


def changed_pixels(moment: Moment, renderer: Renderer) -> UInt8[np.ndarray, "side side"]:
    """1 where the frame differs from its backdrop."""
    bare = renderer.frame(replace(moment, items=())).astype(int)
    difference = np.abs(renderer.frame(moment).astype(int) - bare).sum(axis=2)
    return (difference > 0).astype(np.uint8)


def moments_with_items_apart(num_moments: int) -> list[Moment]:
    found = []
    for seed in range(200):
        moment = write_script(seed, 40).moments[-1]
        pairs = combinations(moment.items, 2)
        reach = [(max(abs(a.x - b.x), abs(a.y - b.y)), 0.7 * (a.size + b.size)) for a, b in pairs]
        if moment.items and all(distance > least for distance, least in reach):
            found.append(moment)
    return found[:num_moments]


def test_the_pixels_that_differ_from_the_backdrop_are_those_of_the_objects() -> None:
    renderer = Renderer()
    moments = moments_with_items_apart(25)
    assert max(len(moment.items) for moment in moments) >= 2
    for moment in moments:
        left = changed_pixels(moment, renderer)
        for item in moment.items:
            half = 0.75 * item.size * WORLD_PX
            x, y = item.x * WORLD_PX, item.y * WORLD_PX
            box = np.s_[
                max(0, int(y - half)) : int(y + half) + 1, max(0, int(x - half)) : int(x + half) + 1
            ]
            assert left[box].sum() > 10, f"{item.name} is not drawn"
            left[box] = 0
        assert left.sum() == 0, "something is drawn where no object is"


def test_two_renderers_draw_the_same_frame() -> None:
    moment = write_script(1, 20).moments[-1]
    assert np.array_equal(Renderer().frame(moment), Renderer().frame(moment))


def test_a_large_frame_scaled_down_shows_the_same() -> None:
    moment = write_script(2003, 40).moments[-1]
    large = Image.fromarray(Renderer(384).frame(moment))
    scaled = np.asarray(large.resize((WORLD_PX, WORLD_PX), Image.Resampling.BILINEAR)).astype(int)
    assert np.abs(scaled - Renderer().frame(moment)).mean() < 6


def test_a_red_shape_is_drawn_red() -> None:
    moments = write_script(2003, 60).moments
    moment = next(m for m in moments if m.items and m.items[-1].kind is Kind.SHAPE)
    item = replace(moment.items[-1], name="square", color="red", x=0.5, y=0.5, rotation=0.0)
    frame = Renderer().frame(replace(moment, items=(item,)))
    assert frame[WORLD_PX // 2, WORLD_PX // 2] == pytest.approx((220, 30, 35), abs=12)


def test_backdrops_differ_by_scene_and_variant_but_not_by_call() -> None:
    paintings = {paint(scene, variant).tobytes() for scene in SCENES for variant in range(3)}
    assert len(paintings) == 3 * len(SCENES)
    assert np.array_equal(paint("city", 1), paint("city", 1))
