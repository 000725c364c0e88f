"""The planes that make a room: floor, ceiling and walls, in an upright world whose walls stand along its axes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from llava.proposals.fusion import Cloud

LAYER = 0.02  # metres, the step in which planes are looked for
FACING = 0.9  # cosine from which a surface faces along an axis
FLOOR_SHARE = 0.15  # of the largest level layer's area: less is clutter or noise below the floor
LOWEST_CEILING = 1.8  # metres above the floor
WALL_AREA = 0.8  # square metres of wall that must be seen
WALL_TOP = 2.3  # metres above the floor that a wall reaches, or nearly to the ceiling
NEARLY = 0.35  # metres
OUTERMOST_TOP = 1.4  # metres above the floor that the outermost plane reaches, with nothing behind it, to be a wall
BEHIND = 0.02  # share of a scene's points that may lie behind an outermost wall


@dataclass(frozen=True)
class Wall:
    """A plane with ``point[axis] == at``; the room lies on the side to which ``sign`` points."""

    axis: int  # 0: x, 1: y
    sign: int
    at: float  # metres
    low: float  # metres: from where to where the wall was seen along the other horizontal axis
    high: float

    def offset(self, points: np.ndarray) -> np.ndarray:
        """How far points (n, 3) stand out from the wall into the room, metres."""
        return self.sign * (points[:, self.axis] - self.at)

    def along(self, points: np.ndarray) -> np.ndarray:
        """Coordinates (n,) of points (n, 3) along the wall."""
        return points[:, 1 - self.axis]

    def spans(self, points: np.ndarray, margin: float) -> np.ndarray:
        """(n,) bool: before (or in, or behind) the part of the wall that was seen."""
        along = self.along(points)
        return (along > self.low - margin) & (along < self.high + margin)


@dataclass(frozen=True)
class Shell:
    """What encloses a scene."""

    floor: float  # metres, world z
    ceiling: float  # metres; inf where none was seen
    walls: tuple[Wall, ...]


def find_shell(cloud: Cloud) -> Shell:
    """Floor, ceiling and walls of a cloud with at least one point; where no floor is seen, its lowest points are."""
    floor = _floor(cloud)
    ceiling = _ceiling(cloud, floor)
    walls = [wall for axis in (0, 1) for sign in (-1, 1) for wall in _walls(cloud, axis, sign, floor, ceiling)]
    return Shell(floor, ceiling, tuple(walls))


def _floor(cloud: Cloud) -> float:
    heights = cloud.points[cloud.normals[:, 2] > FACING, 2]
    if len(heights) == 0:
        return float(np.percentile(cloud.points[:, 2], 1))
    counts, start = _layers(heights)
    peak = int(np.argmax(counts >= FLOOR_SHARE * counts.max()))
    while peak + 1 < len(counts) and counts[peak + 1] > counts[peak]:
        peak += 1
    return _refined(heights, start + (peak + 0.5) * LAYER)


def _ceiling(cloud: Cloud, floor: float) -> float:
    heights = cloud.points[(cloud.normals[:, 2] < -FACING) & (cloud.points[:, 2] > floor + LOWEST_CEILING), 2]
    if len(heights) * cloud.voxel**2 < WALL_AREA:
        return float("inf")
    counts, start = _layers(heights)
    return _refined(heights, start + (int(np.argmax(counts)) + 0.5) * LAYER)


def _walls(cloud: Cloud, axis: int, sign: int, floor: float, ceiling: float) -> list[Wall]:
    """The walls that face along ``sign`` of an axis, the outermost first."""
    facing = sign * cloud.normals[:, axis] > FACING
    points = cloud.points[facing]
    if len(points) == 0:
        return []
    at = sign * points[:, axis]
    counts, start = _layers(at)
    peaks = np.flatnonzero((counts == ndimage.maximum_filter1d(counts, 7)) & (counts * cloud.voxel**2 > WALL_AREA))
    found: list[Wall] = []
    for peak in peaks:
        place = _refined(at, start + (peak + 0.5) * LAYER)
        near = points[np.abs(at - place) < 2 * LAYER]
        top = np.percentile(near[:, 2], 99) - floor
        behind = np.count_nonzero(sign * cloud.points[:, axis] < place - 0.15) / len(cloud.points)
        tall = top > min(WALL_TOP, ceiling - floor - NEARLY)
        if tall or (not found and behind < BEHIND and top > OUTERMOST_TOP):
            low, high = np.percentile(near[:, 1 - axis], (1, 99))
            if not any(abs(wall.at * sign - place) < 5 * LAYER for wall in found):
                found.append(Wall(axis, sign, sign * place, float(low), float(high)))
    return found


def _layers(values: np.ndarray) -> tuple[np.ndarray, float]:
    """Counts of values in layers, three layers wide, and where the first layer starts."""
    start = float(values.min())
    counts = np.bincount(((values - start) / LAYER).astype(int))
    return np.convolve(counts, (1, 1, 1))[1:-1], start  # "same" would be longer than one or two layers


def _refined(values: np.ndarray, near: float) -> float:
    return float(np.median(values[np.abs(values - near) < 1.5 * LAYER]))
