"""What every piece of furniture is built from: four solids, and the look of one instance."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from llava.rooms.room import Part

RGB = tuple[int, int, int]

STEEL, CHROME, IRON, CREAM = (150, 152, 156), (186, 190, 194), (48, 48, 52), (232, 226, 210)
OAK, WALNUT, BIRCH = (168, 122, 74), (88, 56, 36), (208, 176, 130)
NEUTRALS: tuple[RGB, ...] = (STEEL, IRON, OAK, WALNUT, BIRCH, (214, 212, 206))  # legs, frames, handles


@dataclass(frozen=True)
class Look:
    """How one instance differs from its class: size, colours, texture and its own dice."""

    rng: np.random.Generator
    scale: float  # 0 smallest .. 1 largest of its class
    main: RGB  # the colour that its colour word names
    texture: str  # of the main parts
    trim: RGB  # legs, handles, frames

    def span(self, low: float, high: float) -> float:
        """A length (metres) that follows the instance's scale, with a little play of its own."""
        return float((low + (high - low) * self.scale) * self.rng.uniform(0.97, 1.03))

    def pick(self, *choices: str) -> str:
        """One of several ways to build it."""
        return choices[int(self.rng.integers(len(choices)))]

    def count(self, low: int, high: int) -> int:
        """A whole number, both ends included."""
        return int(self.rng.integers(low, high + 1))

    def tone(self, factor: float) -> RGB:
        """The main colour, lighter or darker."""
        return shade(self.main, factor)


def shade(rgb: RGB, factor: float) -> RGB:
    """`rgb` times `factor`, kept in 0..255."""
    return tuple(int(min(255, max(0, round(c * factor)))) for c in rgb)


def solid(
    shape: str, at: tuple[float, float, float], size: tuple[float, float, float], rgb: RGB, texture="plain"
) -> Part:
    """A solid by the middle of its *bottom* (furniture is thought of from the floor up), metres."""
    x, y, z = (float(v) for v in at)
    w, d, h = (float(v) for v in size)
    return Part(shape, (x, y, z + h / 2), (w, d, h), tuple(int(c) for c in rgb), texture)


def box(at, size, rgb: RGB, texture: str = "plain") -> Part:
    """See `solid`."""
    return solid("box", at, size, rgb, texture)


def tube(at, size, rgb: RGB, texture: str = "plain") -> Part:
    """An upright cylinder; see `solid`."""
    return solid("cylinder", at, size, rgb, texture)


def cone(at, size, rgb: RGB, texture: str = "plain") -> Part:
    """A cone, tip up; see `solid`."""
    return solid("cone", at, size, rgb, texture)


def ball(at, size, rgb: RGB, texture: str = "plain") -> Part:
    """An ellipsoid; see `solid`."""
    return solid("sphere", at, size, rgb, texture)


def legs(
    width: float, depth: float, height: float, thick: float, rgb: RGB, shape: str = "box", inset: float = 0.03
) -> list[Part]:
    """Four legs under a `width` x `depth` top."""
    x, y = width / 2 - thick / 2 - inset, depth / 2 - thick / 2 - inset
    return [solid(shape, (sx * x, sy * y, 0), (thick, thick, height), rgb) for sx in (-1, 1) for sy in (-1, 1)]
