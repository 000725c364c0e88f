"""Boxes of what may be an object, for scenes that nobody has drawn boxes into and no detector has seen."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from llava.geometry.boxes import boxes_from_bounds, iou
from llava.proposals.fusion import Cloud, fuse
from llava.proposals.regions import Cues, Regions, grow, opponent
from llava.proposals.shell import Shell, Wall, find_shell
from llava.types import Scene

MOST = 120  # boxes of a scene
LEAST_CONTRAST = 0.0  # metres, see `Regions.contrast`
ALIKE = 0.5  # IoU from which two boxes are taken for the same thing
LEAST_AREA = 0.015  # square metres of surface seen: a cup
CLEAR = 0.03  # metres off floor, ceiling and walls from which a point is of something else
STANDS = 0.15  # metres above the floor up to which a thing stands on it: feet are thin and dark
LEANS = 0.1  # metres off a wall up to which a thing touches it: its back is not seen
WALL_BAND = (-0.06, 0.12)  # metres off a wall within which a thing hangs on it
WALL_SHARE = 0.5  # of the points on a wall: what has more is the wall
FLAT = 0.03  # metres, the least depth of what hangs on a wall


def propose(scene: Scene, indices: Sequence[int] | None = None, cues: Cues | None = None) -> np.ndarray:
    """Boxes around what stands, lies and hangs in a room, the most distinct first.

    Frames are fused into a cloud of points; floor, ceiling and walls are taken off; what is left falls into regions by
    distance, colour and concave edges, as do the things on each wall by colour. The regions that differ most from what
    they touch become boxes.

    Args:
        scene: upright, walls along its axes (``captures.settle``).
        indices: of the frames to look at; default: all, or some hundreds of them, evenly spread.
        cues: what counts how much.

    Returns:
        (n, 6) float32 boxes, metres; the same for the same frames. n is 0 where nothing is seen.

    ValueError: a file cannot be decoded.
    """
    return boxes_in(fuse(scene, indices), Cues() if cues is None else cues)


def boxes_in(cloud: Cloud, cues: Cues) -> np.ndarray:
    """Boxes (n, 6) float32 of what may be an object in a fused cloud; see ``propose``."""
    if len(cloud.points) == 0:
        return np.zeros((0, 6), np.float32)
    shell = find_shell(cloud)
    found = [_standing(cloud, shell, cues)]
    if cues.walls > 0:
        found += [_hanging(cloud, shell, wall, cues) for wall in shell.walls]
    boxes, contrast = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return _distinct(boxes, contrast).astype(np.float32)


def _standing(cloud: Cloud, shell: Shell, cues: Cues) -> tuple[np.ndarray, np.ndarray]:
    """Boxes (k, 6) and contrast (k,) of regions clear of floor, ceiling and walls."""
    height = cloud.points[:, 2]
    clear = (height > shell.floor + CLEAR) & (height < shell.ceiling - CLEAR)
    for wall in shell.walls:
        clear &= wall.offset(cloud.points) > CLEAR
    regions = _grown(cloud, clear, np.zeros((len(cloud.points), 0)), cues)
    kept = regions.points * cloud.voxel**2 >= LEAST_AREA
    low, high = regions.low[kept] - cloud.voxel / 4, regions.high[kept] + cloud.voxel / 4
    for at in np.flatnonzero(regions.alone[kept]):
        low[at, 2] = _support(cloud, shell, low[at], high[at])
    low[:, 2] = np.where(low[:, 2] < shell.floor + STANDS, shell.floor, low[:, 2])
    for wall in shell.walls:
        before = wall.spans((low + high) / 2, 3 * LEANS)
        side = low[:, wall.axis] if wall.sign > 0 else high[:, wall.axis]
        side[before & (wall.sign * (side - wall.at) < LEANS)] = wall.at
    return boxes_from_bounds(low, high), regions.contrast[kept]


def _support(cloud: Cloud, shell: Shell, low: np.ndarray, high: np.ndarray) -> float:
    """Height of what lies below a thing that nothing touches, or its own where it hangs on a wall.

    Nothing floats: a stem or leg that is too thin for the depth camera holds it up.
    """
    middle = (low + high) / 2
    for wall in shell.walls:
        if wall.spans(middle[None], LEANS)[0] and wall.offset(np.stack([low, high])).min() < LEANS:
            return float(low[2])
    below = np.all(np.abs(cloud.points[:, :2] - middle[:2]) < (high - low)[:2] / 4, axis=1)
    below &= cloud.points[:, 2] < low[2]
    return float(cloud.points[below, 2].max(initial=shell.floor))


def _hanging(cloud: Cloud, shell: Shell, wall: Wall, cues: Cues) -> tuple[np.ndarray, np.ndarray]:
    """Boxes (k, 6) and contrast (k,) of regions on a wall, from the wall to as far as they stand out."""
    offset, height = wall.offset(cloud.points), cloud.points[:, 2]
    near = (offset > WALL_BAND[0]) & (offset < WALL_BAND[1]) & wall.spans(cloud.points, LEANS)
    near &= (height > shell.floor + CLEAR) & (height < shell.ceiling - CLEAR)
    colors_only = Cues(color=2 * cues.color, concavity=0)
    regions = _grown(cloud, near, np.stack([offset, offset**2], axis=1), colors_only, even_angle=60)
    kept = (regions.points * cloud.voxel**2 >= LEAST_AREA) & (regions.points < WALL_SHARE * np.count_nonzero(near))
    mean, square = (regions.sums[kept] / regions.points[kept][:, None]).T
    out = np.maximum(mean + np.sqrt(np.maximum(square - mean**2, 0)), FLAT)
    low, high = regions.low[kept] - cloud.voxel / 4, regions.high[kept] + cloud.voxel / 4
    low[:, 2] = np.where(low[:, 2] < shell.floor + STANDS, shell.floor, low[:, 2])
    ends = np.sort([np.full(len(out), wall.at), wall.at + wall.sign * out], axis=0)
    low[:, wall.axis], high[:, wall.axis] = ends
    return boxes_from_bounds(low, high), regions.contrast[kept] * cues.walls


def _grown(cloud: Cloud, chosen: np.ndarray, values: np.ndarray, cues: Cues, even_angle: float = 25) -> Regions:
    """The regions of the chosen (n,) points of a cloud."""
    colors = opponent(cloud.rgb[chosen])
    return grow(cloud.points[chosen], cloud.normals[chosen], colors, values[chosen], cloud.voxel, cues, even_angle)


def _distinct(boxes: np.ndarray, contrast: np.ndarray) -> np.ndarray:
    """Of boxes (k, 6) those with enough contrast, the highest first, without those much like a higher one."""
    order = np.argsort(-contrast, kind="stable")
    left = boxes[order[contrast[order] >= LEAST_CONTRAST]]
    found: list[np.ndarray] = []
    while len(left) and len(found) < MOST:
        found.append(left[0])
        left = left[1:][iou(left[:1], left[1:])[0] < ALIKE]
    return np.array(found).reshape(-1, 6)
