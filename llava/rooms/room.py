"""The nouns of the embedded data set: a room is a list of items, an item a list of parts.

Everything else follows from them: pictures are ray-cast from the parts, scans sampled from them, and
every sentence of the annotations is derived from the items' geometry.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

INWARD = ((0.0, -1.0), (-1.0, 0.0), (0.0, 1.0), (1.0, 0.0))  # unit vector from wall k into the room


@dataclass(frozen=True)
class Part:
    """A coloured solid in its item's frame (z up, origin on the floor below the item's middle, front +y)."""

    shape: str  # "box" | "cylinder" | "cone" | "sphere"
    center: tuple[float, float, float]  # metres
    size: tuple[float, float, float]  # full extents, metres
    rgb: tuple[int, int, int]
    texture: str = "plain"  # "plain" | "wood" | "fabric" | "stripes" | "checker" | "marble" | "brick" ...


@dataclass(frozen=True)
class Item:
    """One object instance: furniture, clutter, door, window, or a piece of the room's shell."""

    id: int  # 0-based; ScanNet's objectId
    label: str  # class word(s), e.g. "office chair"
    color: str  # colour word of its largest visible part
    material: str  # "wooden", "metal", "fabric", "leather", "plastic", "glass" ...
    size: str  # "small" | "medium" | "large", relative to its class
    position: tuple[float, float, float]  # of the item's origin in the room, metres
    yaw: float  # radians about z
    parts: tuple[Part, ...]
    box: np.ndarray  # (6,) axis-aligned box in the room's (aligned) world, metres
    support: int | None = None  # id of the item it stands on or hangs on; None: the floor
    wall: int | None = None  # 0..3: stands against or hangs on that wall (0: y max, then clockwise from above)
    shell: bool = False  # floor, wall, ceiling: drawn and scanned, never asked about

    @property
    def front(self) -> np.ndarray:
        """Unit vector (2,) in the floor plane that the item's front faces."""
        return np.array([-np.sin(self.yaw), np.cos(self.yaw)])


@dataclass(frozen=True)
class Room:
    """A furnished room in aligned world coordinates: z up, floor at 0, walls along the axes."""

    name: str  # "scene0000_00"
    seed: int
    kind: str  # "bedroom", "office", "living room", "kitchen" ...
    extent: tuple[float, float, float]  # (x, y, z) full size; x and y are centred on 0
    items: tuple[Item, ...]
