"""The measured surface of a scene, thinned: what floors, walls and the way up are found by."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from llava.captures.pixels import load_depth, some_frames
from llava.geometry.camera import unproject
from llava.types import Scene

MOST_FRAMES = 60  # looked at, evenly spread over the capture
GRID_ROWS = 60  # depth rows looked at


class Surface(NamedTuple):
    """Points of a scene's surfaces, one a measured pixel of a coarse grid."""

    points: np.ndarray  # (p, 3) float64 metres, world
    normals: np.ndarray  # (p, 3) unit, towards the camera that saw the point


def surface(scene: Scene) -> Surface:
    """Points and normals from neighbouring measured pixels. ValueError: a depth image cannot be decoded."""
    step = max(1, scene.depth_size[1] // GRID_ROWS)
    rows, cols = np.arange(0, scene.depth_size[1], step), np.arange(0, scene.depth_size[0], step)
    all_points, all_normals = [np.zeros((0, 3))], [np.zeros((0, 3))]
    for index in some_frames(scene, MOST_FRAMES):
        pose = scene.frames[index].pose
        depth = load_depth(scene, index, rows, cols)
        points = unproject(depth, scene.depth_intrinsics, pose, rows, cols).astype(np.float64)
        right, down = points[:-1, 1:] - points[:-1, :-1], points[1:, :-1] - points[:-1, :-1]
        normal = np.cross(right, down)
        length = np.linalg.norm(normal, axis=-1)
        measured = (depth[:-1, :-1] > 0) & (depth[:-1, 1:] > 0) & (depth[1:, :-1] > 0) & (length > 0)
        here, unit = points[:-1, :-1][measured], normal[measured] / length[measured][:, None]
        facing = np.sum(unit * (pose[:3, 3] - here), axis=1) > 0
        all_points.append(here)
        all_normals.append(np.where(facing[:, None], unit, -unit))
    return Surface(np.concatenate(all_points), np.concatenate(all_normals))
