import json
import re
from hashlib import sha256
from importlib.resources import files
from itertools import combinations

import numpy as np
import pytest
from PIL import Image

from eval.stream_world.moment import Item, Kind
from eval.stream_world.renderer import sprite
from eval.stream_world.vocabulary import (
    COLORS,
    HELD_OUT_STYLE,
    SCENES,
    SEEN_STYLES,
    SIGN,
    STYLES,
    emoji_names,
    shape_names,
    sprite_index,
)

ASSETS = files("eval.stream_world").joinpath("assets")
EMPTY_BORDER_ALPHA = 8
MEGABYTE = 1_000_000
CORE_PIXELS = {
    "fluent": "229f8b1074a733f5",
    "noto": "91c52daf468a0b49",
    "noto-v1": "08118b6af916804d",
    "emojione": "d14f52980f1f7d22",
    "twemoji": "3670ab81205364cc",
}
"""Of each core sheet the start of the SHA-256 of its pixels: models were trained on these."""


def drawing(name, style):
    return sprite(Item(0, name, Kind.EMOJI, style, 0.5, 0.5, 0.3, 0.0, False))


def drawings(style):
    return {name: drawing(name, style) for name in emoji_names(full=True)}


def difference(first, second):
    """Mean absolute difference of two drawings, in 255ths of the brightest."""
    return float(np.abs(first - second).mean())


@pytest.mark.parametrize("style", STYLES)
def test_every_name_has_a_drawing_that_fills_its_tile(style):
    for name, pixels in drawings(style).items():
        rows, columns = np.nonzero(pixels[..., 3] > EMPTY_BORDER_ALPHA)
        longer_side = max(np.ptp(rows), np.ptp(columns)) + 1
        assert longer_side >= sprite_index().tile_px - 4, name
        assert (pixels[..., 3] > 128).mean() > 0.08, name


@pytest.mark.parametrize("style", STYLES)
def test_no_two_names_share_a_drawing(style):
    for (one, first), (other, second) in combinations(drawings(style).items(), 2):
        assert difference(first, second) > 6, (one, other)


def test_no_two_styles_share_a_drawing():
    for name in emoji_names(full=True):
        for one, other in combinations(STYLES, 2):
            apart = difference(drawing(name, one), drawing(name, other))
            assert apart > 2, (name, one, other)


def test_the_core_names_come_first_in_the_full_list():
    core, full = emoji_names(), emoji_names(full=True)
    assert len(core) == sprite_index().num_core
    assert full[: len(core)] == core
    assert len(full) > len(core)


def test_names_are_unique_clean_and_take_no_other_word_of_the_world():
    names = emoji_names(full=True)
    taken = {*shape_names(), *COLORS, *SCENES, SIGN}
    assert len(set(names)) == len(names)
    assert not taken & set(names)
    for name in names:
        assert re.fullmatch("[a-z]{2,}( [a-z]{2,})?", name), name


def test_no_name_of_two_words_contains_another_word_of_the_world():
    names = {*emoji_names(full=True), *shape_names(), *COLORS, *SCENES, SIGN}
    for name in emoji_names(full=True):
        if " " in name:
            assert not names & set(name.split()), name


def test_no_name_is_another_ones_plural():
    names = set(emoji_names(full=True)) | set(shape_names())
    assert not {name + ending for name in names for ending in ("s", "es")} & names


def test_further_names_read_well_after_an_article():
    sounds_otherwise = re.compile("hour|honest|uni|eu|use|one")
    further = emoji_names(full=True)[sprite_index().num_core :]
    assert not [name for name in further if sounds_otherwise.match(name)]


@pytest.mark.parametrize("style", STYLES)
def test_each_style_comes_with_its_licence_and_its_row_in_the_readme(style):
    licences = [path.name for path in ASSETS.joinpath("licences").iterdir()]
    own = [name for name in licences if re.fullmatch(rf"{style}-[A-Z][\w.-]*\.txt", name)]
    assert own
    readme = ASSETS.joinpath("README.md").read_text(encoding="utf-8")
    rows = [line for line in readme.splitlines() if line.startswith(f"| `{style}.png`")]
    assert len(rows) == 1
    assert any(f"licences/{name}" in rows[0] for name in own)
    assert f"`{style}-more.png`" in rows[0]


def test_a_model_never_trains_on_the_held_out_style():
    assert HELD_OUT_STYLE not in SEEN_STYLES
    assert len(set(STYLES)) == len(STYLES)


def test_the_icon_table_names_an_icon_for_every_name_and_set():
    table = json.loads(ASSETS.joinpath("icons.json").read_text(encoding="utf-8"))
    assert tuple(table["icons"]) == emoji_names(full=True)
    assert set(table["sets"]) == set(STYLES)
    for icon_set in table["sets"].values():
        assert set(icon_set["instead"]) <= set(table["icons"])


@pytest.mark.parametrize("style", STYLES)
def test_sheets_have_a_tile_for_each_name(style):
    index = sprite_index()
    num_more = len(index.emoji) - index.num_core
    for name, num_tiles in ((style, index.num_core), (f"{style}-more", num_more)):
        with ASSETS.joinpath(f"{name}.png").open("rb") as file, Image.open(file) as sheet:
            assert sheet.width // index.tile_px * (sheet.height // index.tile_px) == num_tiles


@pytest.mark.parametrize("style", STYLES)
def test_core_drawings_stay_what_models_were_trained_on(style):
    with ASSETS.joinpath(f"{style}.png").open("rb") as file:
        pixels = Image.open(file).convert("RGBA").tobytes()
    assert sha256(pixels).hexdigest().startswith(CORE_PIXELS[style])


def test_the_assets_stay_small():
    sizes = [path.stat().st_size for path in ASSETS.rglob("*") if path.is_file()]
    assert sum(sizes) < 2.5 * MEGABYTE
