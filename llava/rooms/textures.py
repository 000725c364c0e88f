"""Surface patterns: small periodic tiles that multiply a part's colour, kept as one mip-mapped atlas.

A tile holds factors: 128 means "the part's own colour". Tiles average near 128, so that a part's colour word stays
true.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np

RESOLUTION = 128  # texels a side on the finest level
LEVELS = 6  # 128 .. 4
_SEED = 1406


@dataclass(frozen=True)
class Pattern:
    """How a tile is laid on a surface."""

    paint: Callable[[np.random.Generator], np.ndarray]  # -> (R, R) or (R, R, 3) float factors around 1; rows along v
    period: float  # metres that one tile covers; 0: stretched once over the face
    glow: float = 0.0  # share of its brightness that it gives off itself


@dataclass(frozen=True)
class Atlas:
    """All tiles on all levels in one flat table of texels."""

    texels: np.ndarray  # (n, 3) uint8
    start: np.ndarray  # (tiles, LEVELS) int32, first texel of a tile's level
    glow: np.ndarray  # (tiles,) float32


def _grid() -> tuple[np.ndarray, np.ndarray]:
    """Texel middles in 0..1: u along columns, v along rows."""
    t = (np.arange(RESOLUTION) + 0.5) / RESOLUTION
    return np.meshgrid(t, t)


def _noise(rng: np.random.Generator, u_cells: int, v_cells: int) -> np.ndarray:
    """Smooth periodic noise (R, R) in -1..1 with the given number of cells along u and v."""
    values = rng.uniform(-1, 1, (v_cells, u_cells))
    u, v = _grid()
    x, y = u * u_cells, v * v_cells
    x0, y0 = np.floor(x).astype(int), np.floor(y).astype(int)
    fx, fy = (3 - 2 * (x - x0)) * (x - x0) ** 2, (3 - 2 * (y - y0)) * (y - y0) ** 2
    x1, y1, x0, y0 = (x0 + 1) % u_cells, (y0 + 1) % v_cells, x0 % u_cells, y0 % v_cells
    low = values[y0, x0] * (1 - fx) + values[y0, x1] * fx
    return low * (1 - fy) + (values[y1, x0] * (1 - fx) + values[y1, x1] * fx) * fy


def _plain(rng):
    return 1 + 0.02 * _noise(rng, 8, 8)


def _wood(rng):
    """Grain along u."""
    warp = 0.35 * _noise(rng, 2, 5)
    rings = np.sin(2 * np.pi * (_grid()[1] * 7 + warp * 2))
    return 1 + 0.06 * rings + 0.06 * _noise(rng, 4, 48) + 0.05 * _noise(rng, 3, 9)


def _planks(rng):
    """Floor boards along u, each of its own shade, half a board shifted from row to row."""
    u, v = _grid()
    row = np.floor(v * 8).astype(int)
    joint = (u * 2 + 0.37 * row) % 1.0
    board = (np.floor(u * 2 + 0.37 * row).astype(int) * 7 + row * 3) % 23
    tone = rng.uniform(-0.13, 0.13, 23)[board]
    gap = np.where((v * 8 % 1 < 0.06) | (joint < 0.012), 0.62, 1.0)
    return (1 + tone + 0.06 * _noise(rng, 6, 64)) * gap


def _tiles(rng):
    u, v = _grid()
    cell = (np.floor(u * 2) * 2 + np.floor(v * 2)).astype(int)
    grout = np.where((u * 2 % 1 < 0.035) | (v * 2 % 1 < 0.035), 0.68, 1.02)
    return grout * (1 + rng.uniform(-0.05, 0.05, 4)[cell]) + 0.02 * _noise(rng, 16, 16)


def _carpet(rng):
    return (
        1 + 0.10 * rng.uniform(-1, 1, (RESOLUTION, RESOLUTION)) + 0.06 * _noise(rng, 20, 20) + 0.03 * _noise(rng, 4, 4)
    )


def _plaster(rng):
    return 1 + 0.015 * _noise(rng, 24, 24) + 0.02 * _noise(rng, 3, 3)


def _fabric(rng):
    u, v = _grid()
    return 1 + 0.07 * np.sin(2 * np.pi * u * 24) * np.sin(2 * np.pi * v * 24) + 0.05 * _noise(rng, 10, 10)


def _stripes(rng):
    return np.where(_grid()[0] * 4 % 1 < 0.5, 1.1, 0.84) + 0.03 * _noise(rng, 16, 16)


def _checker(rng):
    u, v = _grid()
    return 0.86 + 0.13 * ((u * 4 % 1 < 0.5).astype(float) + (v * 4 % 1 < 0.5)) + 0.03 * _noise(rng, 16, 16)


def _dots(rng):
    u, v = _grid()
    r = np.hypot(u * 4 % 1 - 0.5, v * 4 % 1 - 0.5)
    return np.where(r < 0.24, 1.32, 0.93) + 0.02 * _noise(rng, 16, 16)


def _leather(rng):
    return 1 + 0.09 * _noise(rng, 22, 22) + 0.06 * _noise(rng, 7, 7)


def _metal(rng):
    return 1 + 0.05 * _noise(rng, 3, 60) + 0.07 * np.sin(2 * np.pi * _grid()[0] + 1.0)


def _marble(rng):
    veins = np.abs(np.sin(2 * np.pi * (_grid()[0] * 2 + 0.5 * _noise(rng, 4, 4) + 0.25 * _noise(rng, 9, 9))))
    return 1.04 - 0.22 * np.exp(-veins * 6)


def _cardboard(rng):
    return 1 + 0.05 * _noise(rng, 40, 4) + 0.05 * _noise(rng, 6, 6)


def _weave(rng):
    u, v = _grid()
    over = ((np.floor(u * 12) + np.floor(v * 12)) % 2 == 0).astype(float)
    return 0.8 + 0.3 * over * np.sin(np.pi * (u * 12 % 1)) + 0.2 * (1 - over) * np.sin(np.pi * (v * 12 % 1)) + 0.1


def _leaves(rng):
    return 1 + 0.30 * _noise(rng, 12, 12) + 0.18 * _noise(rng, 28, 28)


def _glass(rng):
    """A slanted sheen."""
    u, v = _grid()
    return 0.92 + 0.14 * np.clip(np.sin(2 * np.pi * (u + v)) * 3, -1, 1) * (0.6 + 0.4 * np.cos(2 * np.pi * (u - v)))


def _sky(rng):
    """Clouds above, trees below."""
    u, v = _grid()
    clouds = 1 + 0.12 * _noise(rng, 4, 5) + 0.08 * (v - 0.5)
    hills = 0.2 + 0.06 * _noise(rng, 5, 1) + 0.03 * _noise(rng, 16, 1)
    sky = np.repeat(clouds[..., None], 3, 2)
    return np.where(
        (v < hills)[..., None], np.array([0.62, 0.72, 0.55]) * (1 + 0.15 * _noise(rng, 20, 20))[..., None], sky
    )


def _screen(rng):
    """Windows and text lines."""
    u, v = _grid()
    out = 1 + 0.12 * (v - 0.5) + 0.06 * _noise(rng, 3, 3)
    lines = (v * 16 % 1 < 0.45) & (u > 0.12) & (u < 0.12 + 0.4 * rng.uniform(0.4, 1, 16)[np.floor(v * 16).astype(int)])
    out = np.where(lines & (v > 0.2) & (v < 0.85), out * 1.35, out)
    return np.where(v < 0.06, out * 0.7, out)


def _art(rng):
    """A landscape of sorts in shades of one colour, with a sun."""
    u, v = _grid()
    out = 1.12 - 0.2 * v + 0.0 * u
    for k, low in enumerate((0.6, 0.42, 0.22)):
        out = np.where(v < low + 0.12 * _noise(rng, 3 + k, 1), 0.98 - 0.14 * k, out)
    return np.where(np.hypot(u - 0.7, v - 0.78) < 0.1, 1.5, out)


def _art2(rng):
    """Rectangles and circles."""
    u, v = _grid()
    out = np.ones((RESOLUTION, RESOLUTION, 3))
    for _ in range(7):
        x, y, w, h = rng.uniform(0.1, 0.8), rng.uniform(0.1, 0.8), rng.uniform(0.05, 0.25), rng.uniform(0.05, 0.25)
        inside = (
            (np.abs(u - x) < w / 2) & (np.abs(v - y) < h / 2) if rng.random() < 0.6 else np.hypot(u - x, v - y) < w / 2
        )
        out = np.where(inside[..., None], rng.uniform(0.6, 1.35, 3), out)
    return out


def _scribble(rng):
    """Handwriting."""
    u, v = _grid()
    row = np.floor(v * 9).astype(int)
    wave = 0.5 + 0.3 * _noise(rng, 40, 9)
    ink = (np.abs(v * 9 % 1 - wave) < 0.1) & (u > 0.08) & (u < rng.uniform(0.15, 0.7, 9)[row]) & (row > 3) & (row < 8)
    return np.where(ink[..., None], np.array([0.35, 0.4, 0.7]), 1.0)


# A pattern is painted from its position, so that one taken out would repaint those behind it; nothing is woven now.
PATTERNS: dict[str, Pattern] = {
    "plain": Pattern(_plain, 1.0),
    "wood": Pattern(_wood, 0.8),
    "planks": Pattern(_planks, 1.2),
    "tiles": Pattern(_tiles, 0.7),
    "carpet": Pattern(_carpet, 0.6),
    "plaster": Pattern(_plaster, 1.5),
    "fabric": Pattern(_fabric, 0.4),
    "stripes": Pattern(_stripes, 0.5),
    "checker": Pattern(_checker, 0.5),
    "dots": Pattern(_dots, 0.4),
    "leather": Pattern(_leather, 0.5),
    "metal": Pattern(_metal, 0.7),
    "marble": Pattern(_marble, 0.9),
    "cardboard": Pattern(_cardboard, 0.6),
    "weave": Pattern(_weave, 0.4),
    "leaves": Pattern(_leaves, 0.5),
    "glass": Pattern(_glass, 0.9),
    "lampshade": Pattern(_fabric, 0.4, glow=0.75),
    "sky": Pattern(_sky, 0.0, glow=1.0),
    "screen": Pattern(_screen, 0.0, glow=0.8),
    "art": Pattern(_art, 0.0),
    "art2": Pattern(_art2, 0.0),
    "scribble": Pattern(_scribble, 0.0),
}
TEXTURE_INDEX: dict[str, int] = {name: i for i, name in enumerate(PATTERNS)}


@cache
def atlas() -> Atlas:
    """All patterns, painted once a process."""
    texels, start, total = [], np.zeros((len(PATTERNS), LEVELS), np.int32), 0
    for i, pattern in enumerate(PATTERNS.values()):
        tile = np.asarray(pattern.paint(np.random.default_rng([_SEED, i])), float)
        tile = np.repeat(tile[..., None], 3, 2) if tile.ndim == 2 else tile
        for level in range(LEVELS):
            start[i, level] = total
            flat = np.clip(tile.reshape(-1, 3) * 128, 0, 255).astype(np.uint8)
            texels.append(flat)
            total += len(flat)
            half = tile.shape[0] // 2
            tile = tile.reshape(half, 2, half, 2, 3).mean((1, 3))
    glow = np.array([p.glow for p in PATTERNS.values()], np.float32)
    return Atlas(np.concatenate(texels), start, glow)
