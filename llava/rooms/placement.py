"""Where things may stand: boxes of parts, and a floor plan that accepts what fits."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from llava.rooms.furniture import Design
from llava.rooms.room import INWARD, Item, Part

WALL_YAW = (
    math.pi,
    math.pi / 2,
    0.0,
    -math.pi / 2,
)  # of an item with its back to wall 0 (y max), 1 (x max), 2 (y min), 3 (x min)
_TOUCH = 1e-4  # metres; boxes that only touch do not overlap


def parts_box(parts: Sequence[Part], position: tuple[float, float, float], yaw: float) -> np.ndarray:
    """Axis-aligned box (6,) of parts turned by `yaw` and moved to `position`; exact for all four solids."""
    centers = np.array([p.center for p in parts], float)
    half = np.array([p.size for p in parts], float) / 2
    round_ = np.array([p.shape != "box" for p in parts])
    c, s = math.cos(yaw), math.sin(yaw)
    turned = np.stack([centers[:, 0] * c - centers[:, 1] * s, centers[:, 0] * s + centers[:, 1] * c, centers[:, 2]], 1)
    along = np.abs(np.array([[c, s], [s, c]]))  # how far each half extent reaches along x and y
    square = half[:, :2] @ along.T
    ellipse = np.sqrt((half[:, :2] ** 2) @ (along.T**2))
    reach = np.concatenate([np.where(round_[:, None], ellipse, square), half[:, 2:]], 1)
    low, high = (turned - reach).min(0), (turned + reach).max(0)
    return np.concatenate([(low + high) / 2 + np.array(position), high - low])


def overlaps(box: np.ndarray, boxes: np.ndarray, gap: float = 0.0) -> np.ndarray:
    """Which of `boxes` (n, 6) come nearer than `gap` metres to `box` (6,) on all three axes -> (n,) bool."""
    apart = np.abs(boxes[:, :3] - box[:3]) - (boxes[:, 3:] + box[3:]) / 2
    return (apart < gap - _TOUCH).all(1)


@dataclass
class FloorPlan:
    """A room while it is being furnished."""

    extent: tuple[float, float, float]
    items: list[Item] = field(default_factory=list)
    clear: list[np.ndarray] = field(default_factory=list)  # volumes that only seats may enter

    def fits(self, box: np.ndarray, support: int | None = None, gap: float = 0.0, seat: bool = False) -> bool:
        """Whether `box` is inside the room and in nobody's way; what it stands on does not count."""
        x, y, z = self.extent
        low, high = box[:3] - box[3:] / 2, box[:3] + box[3:] / 2
        if (low < np.array([-x / 2, -y / 2, 0]) - _TOUCH).any() or (high > np.array([x / 2, y / 2, z]) + _TOUCH).any():
            return False
        others = [i.box for i in self.items if not i.shell and i.id != support]
        if others and overlaps(box, np.array(others), gap).any():
            return False
        if not seat and support is None and self.clear and overlaps(box, np.array(self.clear)).any():
            return False
        return True

    def add(
        self,
        design: Design,
        position,
        yaw: float,
        support: int | None = None,
        wall: int | None = None,
        shell: bool = False,
    ) -> Item:
        """Put `design` there without asking."""
        position = tuple(float(v) for v in position)
        item = Item(
            id=len(self.items),
            label=design.label,
            color=design.color,
            material=design.material,
            size=design.size,
            position=position,
            yaw=float(yaw),
            parts=design.parts,
            box=parts_box(design.parts, position, yaw),
            support=support,
            wall=wall,
            shell=shell,
        )
        self.items.append(item)
        return item

    def keep_clear(self, item: Item, front: float, around: float = 0.0) -> None:
        """Reserve `front` metres before the item's front and `around` metres on every side, for walking."""
        box = item.box.copy()
        box[3:5] += 2 * around
        if front:
            box[:2] += item.front * front / 2
            box[3:5] += np.abs(item.front) * front
        box[2], box[5] = 1.0, 2.0
        self.clear.append(box)

    def against_wall(
        self, design: Design, wall: int, along: float, base: float = 0.0, gap: float = 0.0
    ) -> tuple[np.ndarray, np.ndarray]:
        """Position (3,) and box (6,) of `design` with its back to `wall`, `along` metres from the wall's middle."""
        local = parts_box(design.parts, (0, 0, 0), 0.0)
        back = local[1] - local[4] / 2  # y of the design's back
        normal = np.array(INWARD[wall])
        half = np.array(self.extent[:2]) / 2
        sideways = np.abs(normal[::-1])
        xy = -normal * half + normal * (gap - back) + sideways * along
        position = np.array([xy[0], xy[1], base])
        return position, parts_box(design.parts, tuple(position), WALL_YAW[wall])

    def wall_length(self, wall: int) -> float:
        """Metres from corner to corner."""
        return self.extent[0] if wall in (0, 2) else self.extent[1]
