"""Posed depth images become one cloud of surface points: a voxel grid that is filled frame by frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from llava.captures.pixels import load_color, load_depth
from llava.geometry.camera import unproject
from llava.geometry.voxels import pack_keys
from llava.types import Scene

VOXEL = 0.025  # metres, unless the scene is too large for it
MOST_VOXELS = 600_000  # voxels are made twice as large where there would be more: bounds memory and time
MOST_FRAMES = 240  # read of a long video, evenly spread
COLUMNS = 256  # of a depth image that are read; more are thinned out
FARTHEST = 6.0  # metres; beyond it depth cameras guess
JUMP = 0.03  # of the depth: what differs more from its neighbour in the picture belongs to another surface
NEIGHBOURS = 24  # points that say which way a surface faces


@dataclass(frozen=True)
class Cloud:
    """The surface of a scene as n points, one a voxel."""

    points: np.ndarray  # (n, 3) float64 metres, world
    normals: np.ndarray  # (n, 3) float64 unit vectors, towards the cameras
    rgb: np.ndarray  # (n, 3) float64, 0..255
    voxel: float  # metres, the side of the grid's cells


class _Grid:
    """Sums over the points of each voxel, sorted by key; grows only by voxels that were never hit before."""

    def __init__(self) -> None:
        self.voxel = VOXEL
        self.keys = np.zeros(0, np.int64)
        self.sums = np.zeros((0, 10))  # weight, then weighted: position, colour, direction to the camera

    def add(self, points: np.ndarray, rest: np.ndarray) -> None:
        """Points (p, 3) with (p, 7) what is summed beside their position, weight first."""
        weight = rest[:, :1]
        values = np.concatenate([weight, points * weight, rest[:, 1:] * weight], axis=1)
        self._merge(pack_keys(np.floor(points / self.voxel)), values)
        while len(self.keys) > MOST_VOXELS:
            self.voxel *= 2
            keys, values = self.keys, self.sums
            self.keys, self.sums = keys[:0], values[:0]
            self._merge(pack_keys(np.floor(values[:, 1:4] / values[:, :1] / self.voxel)), values)

    def _merge(self, keys: np.ndarray, values: np.ndarray) -> None:
        keys, values = np.concatenate([self.keys, keys]), np.concatenate([self.sums, values])
        order = np.argsort(keys, kind="stable")
        keys = keys[order]
        starts = np.flatnonzero(np.diff(keys, prepend=keys[:1] - 1))
        self.keys, self.sums = keys[starts], np.add.reduceat(values[order], starts) if len(starts) else values


def fuse(scene: Scene, indices: Sequence[int] | None = None) -> Cloud:
    """The surface that some frames saw, or that (at most ``MOST_FRAMES`` of) all did.

    Near looks count more than far ones, as the error of depth cameras grows with the square of the distance
    (Khoshelham and Elberink, 2012), and each point is moved onto the plane through its neighbours.

    ValueError: a file cannot be decoded.
    """
    if indices is None:
        count = min(len(scene.frames), MOST_FRAMES)
        indices = np.unique(np.linspace(0, len(scene.frames) - 1, count).round().astype(int)).tolist()
    grid = _Grid()
    for index in indices:
        grid.add(*_surface(scene, index))
    if len(grid.keys) < NEIGHBOURS:
        return Cloud(*(np.zeros((0, 3)) for _ in range(3)), grid.voxel)
    weight, sums = grid.sums[:, :1], grid.sums[:, 1:] / grid.sums[:, :1]
    return _smoothed(sums[:, :3], sums[:, 3:6], sums[:, 6:], weight[:, 0], grid.voxel)


def _surface(scene: Scene, index: int) -> tuple[np.ndarray, np.ndarray]:
    """Measured points (p, 3) of a frame and (p, 7): weight, colour, unit vector to the camera."""
    width, height = scene.depth_size
    step = max(1, width // COLUMNS)
    rows, cols = np.arange(0, height, step), np.arange(0, width, step)
    depth = load_depth(scene, index, rows, cols)
    known = (depth > 0) & (depth < FARTHEST) & (_held(depth) >= 2)
    pose = scene.frames[index].pose
    points = unproject(depth, scene.depth_intrinsics, pose, rows, cols)[known].astype(np.float64)
    picture = load_color(scene, index).resize((width, height), Image.Resampling.BOX)
    color = np.asarray(picture)[rows][:, cols][known]
    towards = pose[:3, 3] - points
    towards /= np.linalg.norm(towards, axis=1, keepdims=True)
    return points, np.concatenate([depth[known][:, None].astype(np.float64) ** -2, color, towards], axis=1)


def _held(depth: np.ndarray) -> np.ndarray:
    """How many of a pixel's four neighbours lie on the same surface: a pixel between two surfaces has none there."""
    held = np.zeros(depth.shape, np.int8)
    for axis in (0, 1):
        first, second = (depth[:-1], depth[1:]) if axis == 0 else (depth[:, :-1], depth[:, 1:])
        joined = np.abs(first - second) < JUMP * np.minimum(first, second)
        if axis == 0:
            held[:-1] += joined
            held[1:] += joined
        else:
            held[:, :-1] += joined
            held[:, 1:] += joined
    return held


def _smoothed(points: np.ndarray, rgb: np.ndarray, towards: np.ndarray, weight: np.ndarray, voxel: float) -> Cloud:
    """Points (n, 3) on the planes through their neighbours, where these lie in one, and again one a voxel."""
    from scipy.spatial import cKDTree

    _, near = cKDTree(points).query(points, NEIGHBOURS, distance_upper_bound=4 * voxel)
    there = near < len(points)
    near = np.where(there, near, 0)
    share = np.where(there, weight[near], 0)
    share /= share.sum(axis=1, keepdims=True)
    middle = np.einsum("nk,nkc->nc", share, points[near])
    spread = points[near] - middle[:, None]
    _, axes = np.linalg.eigh(np.einsum("nk,nkc,nkd->ncd", share, spread, spread))
    normals = axes[:, :, 0]
    normals *= np.where(np.sum(normals * towards, axis=1, keepdims=True) < 0, -1, 1)
    moved = points + normals * np.sum((middle - points) * normals, axis=1, keepdims=True)
    keys = pack_keys(np.floor(moved / voxel))
    order = np.argsort(keys, kind="stable")
    starts = np.flatnonzero(np.diff(keys[order], prepend=-1))
    total = np.add.reduceat(weight[order], starts)[:, None]
    kept = [np.add.reduceat((v * weight[:, None])[order], starts) / total for v in (moved, normals, rgb)]
    kept[1] /= np.maximum(np.linalg.norm(kept[1], axis=1, keepdims=True), 1e-9)
    return Cloud(*kept, voxel)
