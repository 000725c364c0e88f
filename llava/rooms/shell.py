"""Floor, ceiling and walls."""

from __future__ import annotations

import numpy as np

from llava.rooms.furniture import Design
from llava.rooms.parts import RGB, box
from llava.rooms.placement import FloorPlan

_THICK = 0.05  # metres, outside of the room
_FLOORS: tuple[tuple[str, str, str, RGB], ...] = (
    ("brown", "wooden", "planks", (168, 124, 84)),
    ("brown", "wooden", "planks", (128, 88, 58)),
    ("gray", "wooden", "planks", (160, 152, 142)),
    ("white", "ceramic", "tiles", (214, 210, 200)),
    ("gray", "ceramic", "tiles", (158, 158, 156)),
    ("brown", "ceramic", "tiles", (176, 140, 116)),
    ("gray", "fabric", "carpet", (146, 144, 148)),
    ("blue", "fabric", "carpet", (104, 116, 140)),
    ("brown", "fabric", "carpet", (178, 160, 138)),
)
_WALLS: tuple[tuple[str, RGB], ...] = (
    ("white", (232, 230, 224)),
    ("white", (238, 232, 216)),
    ("yellow", (236, 222, 178)),
    ("blue", (190, 208, 224)),
    ("green", (196, 214, 190)),
    ("pink", (232, 206, 202)),
    ("gray", (202, 202, 204)),
    ("orange", (236, 208, 182)),
)


def build_shell(plan: FloorPlan, rng: np.random.Generator) -> None:
    """Add floor (item 0), ceiling (1) and walls 0..3 (items 2..5) to an empty plan."""
    x, y, z = plan.extent
    color, material, texture, rgb = _FLOORS[int(rng.integers(len(_FLOORS)))]
    rgb = _vary(rgb, rng)
    plan.add(_slab("floor", color, material, texture, rgb, (x, y, _THICK)), (0, 0, -_THICK), 0.0, shell=True)
    plan.add(
        _slab("ceiling", "white", "plaster", "plaster", (240, 240, 236), (x, y, _THICK)), (0, 0, z), 0.0, shell=True
    )
    color, rgb = _WALLS[int(rng.integers(len(_WALLS)))]
    rgb = _vary(rgb, rng)
    for wall in range(4):
        size = (x, _THICK, z) if wall in (0, 2) else (_THICK, y, z)
        at = ((0, (y + _THICK) / 2), ((x + _THICK) / 2, 0), (0, -(y + _THICK) / 2), (-(x + _THICK) / 2, 0))[wall]
        plan.add(_slab("wall", color, "plaster", "plaster", rgb, size), (*at, 0), 0.0, wall=wall, shell=True)


def _slab(label: str, color: str, material: str, texture: str, rgb: RGB, size: tuple[float, float, float]) -> Design:
    return Design(label, color, material, "medium", (box((0, 0, 0), size, rgb, texture),))


def _vary(rgb: RGB, rng: np.random.Generator) -> RGB:
    return tuple(int(c) for c in np.clip(np.array(rgb) + rng.uniform(-10, 10, 3), 0, 250))
