"""Renderer: draws a moment of a script as an RGB frame, with drawings from the sprite sheets."""

from functools import cache, lru_cache

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from eval.stream_world.backdrops import BACKDROP_PX, paint
from eval.stream_world.moment import CROP_MARGIN_PX, Backdrop, Item, Kind, Moment
from eval.stream_world.vocabulary import COLORS, asset, sprite_index

WORLD_PX = BACKDROP_PX - CROP_MARGIN_PX
"""The side of a frame at the scale for which backdrops are painted and the model was trained."""
SIGN_DESIGNS = ("white", "yellow")
FIRST_NUMBER, NUM_NUMBERS = 10, 90


def sprite(item: Item) -> Float[np.ndarray, "tile tile 4"]:
    """Return the drawing of an object in its colour, 0 to 255, premultiplied alpha."""
    index = sprite_index()
    if item.kind is Kind.SIGN:
        assert item.number is not None
        design = SIGN_DESIGNS.index(item.style)
        sheet, number = "signs", design * NUM_NUMBERS + item.number - FIRST_NUMBER
    elif item.kind is Kind.SHAPE:
        sheet, number = "shapes", index.shapes.index(item.name)
    elif (number := index.emoji.index(item.name)) < index.num_core:
        sheet = item.style
    else:
        sheet, number = f"{item.style}-more", number - index.num_core
    pixels = _tile(sheet, number, index.tile_px).astype(np.float32)
    pixels[..., :3] *= pixels[..., 3:] / 255
    if item.color is not None:
        pixels[..., :3] *= np.array(COLORS[item.color], np.float32) / 255
    return pixels


@cache
def _sheet(name: str) -> UInt8[np.ndarray, "height width 4"]:
    with asset(f"{name}.png").open("rb") as file:
        return np.asarray(Image.open(file).convert("RGBA"))


def _tile(sheet_name: str, number: int, tile_px: int) -> UInt8[np.ndarray, "tile tile 4"]:
    sheet = _sheet(sheet_name)
    row, column = divmod(number, sheet.shape[1] // tile_px)
    top, left = row * tile_px, column * tile_px
    return sheet[top : top + tile_px, left : left + tile_px]


class Renderer:
    """Draws frames of `side_px` x `side_px`; larger ones show the same, only smoother."""

    def __init__(self, side_px: int = WORLD_PX) -> None:
        self.side_px = side_px

    def frame(self, moment: Moment) -> UInt8[np.ndarray, "side side 3"]:
        """Return the frame of one moment, later objects over earlier ones."""
        canvas = _crop(moment.backdrop, self.side_px).astype(np.float32)
        for item in moment.items:
            self._draw(canvas, item)
        return np.clip(np.round(canvas), 0, 255).astype(np.uint8)

    def _draw(self, canvas: Float[np.ndarray, "side side 3"], item: Item) -> None:
        reach = item.size / 2 * (abs(np.cos(item.rotation)) + abs(np.sin(item.rotation)))
        rows = _pixels(item.y, reach, self.side_px)
        columns = _pixels(item.x, reach, self.side_px)
        down = ((np.arange(rows.start, rows.stop) + 0.5) / self.side_px - item.y)[:, None]
        right = ((np.arange(columns.start, columns.stop) + 0.5) / self.side_px - item.x)[None]
        cos, sin = np.cos(item.rotation), np.sin(item.rotation)
        u = (right * cos + down * sin) / item.size
        v = (down * cos - right * sin) / item.size
        layer = _sample(sprite(item), -u if item.is_flipped else u, v)
        under = canvas[rows, columns]
        canvas[rows, columns] = under * (1 - layer[..., 3:] / 255) + layer[..., :3]


def _pixels(center: float, reach: float, side_px: int) -> slice:
    first = int(np.floor((center - reach) * side_px)) - 1
    last = int(np.ceil((center + reach) * side_px)) + 1
    return slice(max(0, first), min(side_px, last))


def _sample(
    drawing: Float[np.ndarray, "tile tile 4"],
    u: Float[np.ndarray, "rows columns"],
    v: Float[np.ndarray, "rows columns"],
) -> Float[np.ndarray, "rows columns 4"]:
    """Sample a drawing at (u, v), 0 at its centre and 0.5 at its edge, bilinear, clear outside."""
    tile = drawing.shape[0]
    padded = np.pad(drawing, ((1, 2), (1, 2), (0, 0)))  # a clear border to read from outside
    x = np.clip((u + 0.5) * tile + 0.5, 0, tile + 1)
    y = np.clip((v + 0.5) * tile + 0.5, 0, tile + 1)
    left, top = x.astype(np.intp), y.astype(np.intp)
    across, down = (x - left)[..., None].astype(np.float32), (y - top)[..., None].astype(np.float32)
    upper = padded[top, left] * (1 - across) + padded[top, left + 1] * across
    lower = padded[top + 1, left] * (1 - across) + padded[top + 1, left + 1] * across
    sampled: Float[np.ndarray, "rows columns 4"] = upper * (1 - down) + lower * down
    return sampled


_painting = lru_cache(maxsize=256)(paint)


def _crop(backdrop: Backdrop, side_px: int) -> UInt8[np.ndarray, "side side 3"]:
    left, top = backdrop.left_px, backdrop.top_px
    picture = _painting(backdrop.scene, backdrop.variant)
    part = picture[top : top + WORLD_PX, left : left + WORLD_PX]
    if backdrop.is_flipped:
        part = part[:, ::-1]
    if side_px == WORLD_PX:
        return part
    resized = Image.fromarray(part).resize((side_px, side_px), Image.Resampling.BILINEAR)
    return np.asarray(resized)
