"""Atlas: the sprite sheets in, one drawing for an object out."""

from functools import cache
from importlib.resources import files

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from eval.stream_world.script import Item, Kind
from eval.stream_world.vocabulary import COLORS, sprite_index

SIGN_DESIGNS = ("white", "yellow")
FIRST_NUMBER, NUM_NUMBERS = 10, 90


class Atlas:
    """Drawings by object, style and number, colours multiplied by alpha."""

    def __init__(self) -> None:
        index = sprite_index()
        self.tile_px = index.tile_px
        self._num_core = index.num_core
        self._emoji = {name: number for number, name in enumerate(index.emoji)}
        self._shapes = {name: number for number, name in enumerate(index.shapes)}

    def sprite(self, item: Item) -> Float[np.ndarray, "tile tile 4"]:
        """The drawing of an object in its colour, 0 to 255, premultiplied alpha."""
        if item.kind is Kind.SIGN:
            assert item.number is not None
            design = SIGN_DESIGNS.index(item.style)
            tile = _tile("signs", design * NUM_NUMBERS + item.number - FIRST_NUMBER, self.tile_px)
        elif item.kind is Kind.SHAPE:
            tile = _tile("shapes", self._shapes[item.name], self.tile_px)
        elif (number := self._emoji[item.name]) < self._num_core:
            tile = _tile(item.style, number, self.tile_px)
        else:
            tile = _tile(f"{item.style}-more", number - self._num_core, self.tile_px)
        pixels = tile.astype(np.float32)
        pixels[..., :3] *= pixels[..., 3:] / 255
        if item.color is not None:
            pixels[..., :3] *= np.array(COLORS[item.color], np.float32) / 255
        return pixels


@cache
def _sheet(name: str) -> UInt8[np.ndarray, "height width 4"]:
    path = files("eval.stream_world").joinpath(f"assets/{name}.png")
    with path.open("rb") as file:
        return np.asarray(Image.open(file).convert("RGBA"))


def _tile(sheet_name: str, index: int, tile_px: int) -> UInt8[np.ndarray, "tile tile 4"]:
    sheet = _sheet(sheet_name)
    row, column = divmod(index, sheet.shape[1] // tile_px)
    top, left = row * tile_px, column * tile_px
    return sheet[top : top + tile_px, left : left + tile_px]
