"""Backdrops: the painted picture behind the objects, by scene and variant."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, UInt8

from eval.stream_world.vocabulary import SCENES

BACKDROP_PX = 128
Picture = Float64[np.ndarray, "side side 3"]
Color = Float64[np.ndarray, " 3"]


@dataclass(frozen=True, eq=False)
class Easel:
    """What a painter needs: randomness, and how far right and down each pixel is (0 to 1)."""

    rng: np.random.Generator
    x: Float64[np.ndarray, "side side"]
    y: Float64[np.ndarray, "side side"]

    def tint(self, red: float, green: float, blue: float, spread: float) -> Color:
        return np.clip(np.array((red, green, blue)) + self.rng.normal(0, spread, 3), 0, 1)

    def wash(self, color: Color) -> Picture:
        return np.broadcast_to(color, (*self.x.shape, 3)).copy()

    def grain(self, block_px: int, strength: float) -> Float64[np.ndarray, "side side 1"]:
        num_blocks = -(-BACKDROP_PX // block_px)
        noise = self.rng.normal(0, strength, (num_blocks, num_blocks))
        large = noise.repeat(block_px, axis=0).repeat(block_px, axis=1)
        squares: Float64[np.ndarray, "side side 1"] = large[:BACKDROP_PX, :BACKDROP_PX, None]
        return squares


def paint(scene: str, variant: int) -> UInt8[np.ndarray, "side side 3"]:
    """Paint a scene's variant: the same picture each time."""
    rng = np.random.default_rng((SCENES.index(scene), variant))
    along = (np.arange(BACKDROP_PX) + 0.5) / BACKDROP_PX
    x, y = np.meshgrid(along, along)
    picture = np.clip(PAINTERS[scene](Easel(rng, x, y)), 0, 1)
    pixels: UInt8[np.ndarray, "side side 3"] = np.round(picture * 255).astype(np.uint8)
    return pixels


def _beach(easel: Easel) -> Picture:
    rng, y = easel.rng, easel.y
    horizon = rng.uniform(0.3, 0.45)
    waves = 0.02 * np.sin(easel.x * 20 + rng.uniform(0, 2 * np.pi))
    shore = horizon + rng.uniform(0.12, 0.25) + waves
    picture = easel.wash(easel.tint(0.58, 0.8, 0.95, 0.06))
    picture += (0.25 - 0.3 * picture) * y[..., None]  # paler towards the horizon
    picture[y >= horizon] = easel.tint(0.1, 0.5, 0.7, 0.06)
    picture[y >= shore] = easel.tint(0.93, 0.84, 0.6, 0.06)
    picture += easel.grain(2, 0.012)
    return picture


def _forest(easel: Easel) -> Picture:
    rng = easel.rng
    picture = easel.wash(easel.tint(0.35, 0.55, 0.3, 0.06))
    picture += easel.grain(8, 0.05)
    for _ in range(rng.integers(4, 9)):
        distance = np.abs(easel.x - rng.uniform(0, 1))
        picture[distance < rng.uniform(0.015, 0.04)] = easel.tint(0.3, 0.2, 0.12, 0.04)
    picture[easel.y > rng.uniform(0.75, 0.85)] = easel.tint(0.22, 0.38, 0.15, 0.06)
    picture += easel.grain(2, 0.015)
    return picture


def _city(easel: Easel) -> Picture:
    rng = easel.rng
    picture = easel.wash(easel.tint(0.65, 0.7, 0.78, 0.06))
    left = 0
    while left < BACKDROP_PX:
        right, roof = left + int(rng.integers(14, 34)), int(rng.uniform(0.2, 0.7) * BACKDROP_PX)
        wall = easel.tint(0.42, 0.42, 0.46, 0.05)
        picture[roof:, left:right] = wall
        for top in range(roof + 4, BACKDROP_PX - 16, 8):
            for window in range(left + 3, min(right, BACKDROP_PX) - 4, 7):
                lit = np.array((0.9, 0.85, 0.5)) if rng.random() < 0.5 else wall * 0.6
                picture[top : top + 4, window : window + 3] = lit
        left = right
    picture[-14:] = easel.tint(0.3, 0.3, 0.3, 0.02)
    return picture


def _night_sky(easel: Easel) -> Picture:
    picture = easel.wash(easel.tint(0.05, 0.06, 0.18, 0.02)) * (1.6 - easel.y)[..., None]
    picture[easel.rng.random(easel.x.shape) < 0.006] = 0.9
    return picture


def _snow(easel: Easel) -> Picture:
    rng = easel.rng
    hills = 0.05 * np.sin(easel.x * rng.uniform(3, 8) + rng.uniform(0, 2 * np.pi))
    picture = easel.wash(easel.tint(0.72, 0.78, 0.86, 0.03))
    picture[easel.y >= rng.uniform(0.4, 0.6) + hills] = easel.tint(0.95, 0.96, 0.98, 0.015)
    picture[rng.random(easel.x.shape) < 0.015] = 1
    return picture


def _room(easel: Easel) -> Picture:
    rng, x, y = easel.rng, easel.x, easel.y
    floor = y >= rng.uniform(0.65, 0.78)
    picture = easel.wash(easel.tint(0.8, 0.68, 0.62, 0.1))
    picture[floor] = easel.tint(0.5, 0.33, 0.2, 0.05)
    picture[floor & (x % 0.13 < 0.008)] *= 0.75  # gaps between the boards
    left, top = rng.uniform(0.05, 0.6), rng.uniform(0.08, 0.2)
    for inset, color in ((0.0, np.full(3, 0.95)), (0.03, easel.tint(0.6, 0.78, 0.92, 0.06))):
        across = (x >= left + inset) & (x < left + 0.3 - inset)
        picture[across & (y >= top + inset) & (y < top + 0.28 - inset)] = color
    return picture


def _plain(easel: Easel) -> Picture:
    first, second = easel.rng.uniform(0.1, 0.9, (2, 3))
    angle = easel.rng.uniform(0, 2 * np.pi)
    blend = 0.5 + (easel.x - 0.5) * np.cos(angle) + (easel.y - 0.5) * np.sin(angle)
    picture: Picture = first + 0.4 * (second - first) * np.clip(blend, 0, 1)[..., None]
    return picture


PAINTERS: dict[str, Callable[[Easel], Picture]] = {
    "beach": _beach,
    "forest": _forest,
    "city": _city,
    "night sky": _night_sky,
    "snow": _snow,
    "room": _room,
    "plain": _plain,
}
