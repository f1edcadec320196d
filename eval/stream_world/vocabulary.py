"""The words of the stream world: names, colours, places and times, and the files that hold them."""

import json
import re
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import NamedTuple

COLORS: dict[str, tuple[int, int, int]] = {
    "red": (220, 30, 35),
    "orange": (245, 130, 20),
    "yellow": (250, 220, 40),
    "green": (40, 160, 60),
    "blue": (40, 90, 220),
    "purple": (130, 50, 180),
    "pink": (250, 140, 190),
    "white": (245, 245, 245),
    "black": (20, 20, 22),
    "brown": (120, 72, 36),
}
PLAIN = "plain"
SCENES = ("beach", "forest", "city", "night sky", "snow", "room", PLAIN)
SIGN = "sign"
UNSEEN = "not seen"
SEEN_STYLES = ("fluent", "noto", "noto-v1", "emojione")
"""Drawing styles that a model may be trained on."""
HELD_OUT_STYLE = "twemoji"
"""The drawing style that no training run may see."""
STYLES = (*SEEN_STYLES, HELD_OUT_STYLE)


def asset(name: str) -> Traversable:
    return files("eval.stream_world").joinpath("assets", name)


class SpriteIndex(NamedTuple):
    """The contents of the sprite sheets: names in the order of the tiles, core names first."""

    tile_px: int
    num_core: int
    emoji: tuple[str, ...]
    shapes: tuple[str, ...]


@cache
def sprite_index() -> SpriteIndex:
    index = json.loads(asset("sprites.json").read_text("utf-8"))
    emoji, shapes = tuple(index["emoji"]), tuple(index["shapes"])
    return SpriteIndex(index["tile_px"], index["num_core"], emoji, shapes)


def emoji_names(full: bool = False) -> tuple[str, ...]:
    """Return the objects with a drawing in each style, in sheet order: the core ones, on which the
    embedded model was trained, then the rest if `full`.
    """
    index = sprite_index()
    return index.emoji if full else index.emoji[: index.num_core]


def shape_names() -> tuple[str, ...]:
    """Return the objects that come in any colour, in the order of the sprite sheet."""
    return sprite_index().shapes


def with_article(words: str) -> str:
    return ("an " if words[0] in "aeiou" else "a ") + words


def cell(x: float, y: float) -> str:
    """Return the ninth of the picture that holds a point; `x` and `y` run from 0 to 1."""
    row = ("top", "middle", "bottom")[min(2, int(y * 3))]
    column = ("left", "center", "right")[min(2, int(x * 3))]
    return "center" if (row, column) == ("middle", "center") else f"{row} {column}"


def clock(time_s: int) -> str:
    """Return stream time as the model reads and writes it: `0h02m05s`."""
    return f"{time_s // 3600}h{time_s // 60 % 60:02d}m{time_s % 60:02d}s"


def parse_clock(text: str) -> int | None:
    """Return the first stream time that `text` mentions, in seconds; None if there is none."""
    found = re.search(r"(\d+)h(\d+)m(\d+)s", text)
    return int(found[1]) * 3600 + int(found[2]) * 60 + int(found[3]) if found else None
