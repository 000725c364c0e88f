"""Put an upright capture where models expect a room: walls along the axes, floor at zero, middle at the origin.

ScanNet's scenes come this way (their axis alignment); a scan of one's own does not, and a model that has
learned where things are in aligned rooms reads its coordinates better after it.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from llava.captures.surface import surface
from llava.types import Scene

LEVEL = 0.95  # |z| of a normal from which a surface is level (18 degrees)
STEEP = 0.2  # |z| of a normal up to which a surface is a wall (12 degrees)
FLOOR_BIN = 0.05  # metres, side of a cell of level surface
FLOOR_SHARE = 0.15  # of the largest level area: less is clutter, noise or a step down
SETTLED_DEGREES, SETTLED_METRES = 1.0, 0.05  # changes below both are smaller than the noise of finding them


def settle(scene: Scene) -> Scene:
    """The same scene in a world turned about z and moved, so that most walls lie along x or y, the floor at
    z = 0 and the middle of what was seen at x = y = 0. ``Scene.align`` includes the change.

    The direction of the walls is the fullest 90-degree-periodic direction of steep surfaces (the "Manhattan
    world" of Coughlan and Yuille, ICCV 1999); the floor is the lowest well-filled height of level surfaces.
    The world must be z-up already. A scene that stands so already is returned as it is, in the world it has.

    ValueError: there is no depth to tell a floor or a wall from, or a file cannot be decoded.
    """
    points, normals = surface(scene)
    if len(points) == 0:
        raise ValueError(f"scene {scene.name} has no measured surface to find its floor and walls by")
    angle = -_wall_angle(normals[np.abs(normals[:, 2]) < STEEP])
    change = np.eye(4)
    change[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    level = points[normals[:, 2] > LEVEL]
    low, high = np.percentile(points @ change[:3, :3].T, (1, 99), axis=0)
    change[:2, 3] = -(low + high)[:2] / 2
    change[2, 3] = -(_floor_height(level) if len(level) else low[2])
    if abs(angle) < np.radians(SETTLED_DEGREES) and np.linalg.norm(change[:3, 3]) < SETTLED_METRES:
        return scene
    frames = tuple(replace(frame, pose=change @ frame.pose) for frame in scene.frames)
    return replace(scene, frames=frames, align=change @ scene.align)


def _wall_angle(normals: np.ndarray) -> float:
    """The direction of most walls modulo 90 degrees, in radians within +-45 degrees; 0 without a wall."""
    if len(normals) == 0:
        return 0.0
    angles = np.degrees(np.arctan2(normals[:, 1], normals[:, 0])) % 90
    counts = np.bincount(angles.astype(int) % 90, minlength=90)
    around = sum(np.roll(counts, shift) for shift in range(-2, 3))
    peak = float(np.argmax(around)) + 0.5
    offset = (angles - peak + 45) % 90 - 45
    refined = peak + offset[np.abs(offset) < 5].mean()
    return float(np.radians((refined + 45) % 90 - 45))


def _floor_height(level: np.ndarray) -> float:
    """Height of the lowest well-filled layer of level points (p, 3)."""
    # Area counts, not pixels: a table in front of the camera has many more of them than the floor behind it.
    cells = np.unique(np.floor(level / FLOOR_BIN).astype(int), axis=0)
    layers = cells[:, 2]
    areas = np.bincount(layers - layers.min())
    lowest = np.argmax(areas >= FLOOR_SHARE * areas.max()) + layers.min()
    return float(np.median(level[np.abs(np.floor(level[:, 2] / FLOOR_BIN) - lowest) <= 1, 2]))
