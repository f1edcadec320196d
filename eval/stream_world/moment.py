"""Moment: one second of a made-up stream: its backdrop and the objects in view."""

from dataclasses import dataclass
from enum import StrEnum

NUM_VARIANTS = 24
CROP_MARGIN_PX = 32
"""How much larger a backdrop is than the frame, so that crops can differ."""


class Kind(StrEnum):
    EMOJI = "emoji"
    SHAPE = "shape"
    SIGN = "sign"


@dataclass(frozen=True)
class Item:
    """`x`, `y` (centre) and `size` are fractions of the frame's side. `track` numbers the visits:
    an object that comes back gets a new one. `color` is set for shapes, `number` for signs.
    """

    track: int
    name: str
    kind: Kind
    style: str
    x: float
    y: float
    size: float
    rotation: float
    is_flipped: bool
    color: str | None = None
    number: int | None = None

    @property
    def is_large(self) -> bool:
        return self.size > 0.28

    @property
    def is_between_cells(self) -> bool:
        """Whether it is so near the border of two cells that either could be said."""
        borders = (self.x * 3 - 1, self.x * 3 - 2, self.y * 3 - 1, self.y * 3 - 2)
        return min(abs(distance) for distance in borders) < self.cell_margin

    @property
    def cell_margin(self) -> float:
        """How near that is, in cells: some shapes are drawn a little off centre."""
        return 0.2 if self.kind is Kind.SHAPE else 0.1


@dataclass(frozen=True)
class Backdrop:
    """The picture behind the objects, and which part of it is visible."""

    scene: str
    variant: int
    left_px: int
    top_px: int
    is_flipped: bool


@dataclass(frozen=True)
class Moment:
    """One second of the stream; `items` in drawing order, each name at most once."""

    time_s: int
    backdrop: Backdrop
    items: tuple[Item, ...]

    def find(self, name: str) -> Item | None:
        return next((item for item in self.items if item.name == name), None)
