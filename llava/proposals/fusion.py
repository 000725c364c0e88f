"""Posed depth images become one cloud of surface points: a voxel grid that is filled frame by frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from llava.captures.pixels import load_color, load_depth, some_frames
from llava.geometry.camera import unproject
from llava.geometry.voxels import VoxelSums, pack_keys
from llava.types import Scene

VOXEL = 0.025  # metres, unless the scene is too large for it
MOST_VOXELS = 600_000  # voxels are made twice as large where there would be more: bounds memory and time
MOST_FRAMES = 240  # read of a long video, evenly spread
BAND_POINTS = 2**15  # that are smoothed at a time
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
    far: np.ndarray  # (n,) float64 metres: from how far away they were seen, near looks counting more
    voxel: float  # metres, the side of the grid's cells


def fuse(scene: Scene, indices: Sequence[int] | None = None) -> Cloud:
    """The surface that some frames saw, or that (at most ``MOST_FRAMES`` of) all did.

    Near looks count more than far ones, as the error of depth cameras grows with the square of the distance
    (Khoshelham and Elberink, 2012), and each point is moved onto the plane through its neighbours.

    ValueError: a file cannot be decoded.
    """
    sums = VoxelSums(VOXEL, values=7, most=MOST_VOXELS)
    for index in some_frames(scene, MOST_FRAMES) if indices is None else indices:
        sums.add(*_surface(scene, index))
    weight, points, values = sums.means()
    if len(points) < NEIGHBOURS:
        return Cloud(*(np.zeros((0, 3)) for _ in range(3)), np.zeros(0), sums.voxel_size)
    return _smoothed(points, values[:, 3:6], values[:, [0, 1, 2, 6]], weight, sums.voxel_size)


def _surface(scene: Scene, index: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Measured points (p, 3) of a frame, their weight (p, 1), and (p, 7): colour, unit vector to the camera, depth."""
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
    away = depth[known][:, None].astype(np.float64)
    return points, away**-2, np.concatenate([color, towards, away], axis=1)


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


def _smoothed(points: np.ndarray, towards: np.ndarray, looks: np.ndarray, weight: np.ndarray, voxel: float) -> Cloud:
    """Points (n, 3) on the planes through their neighbours, again one a voxel; looks (n, 4): colour and depth."""
    from scipy.spatial import cKDTree

    tree, normals, moved = cKDTree(points), np.empty_like(points), np.empty_like(points)
    for start in range(0, len(points), BAND_POINTS):
        band = slice(start, start + BAND_POINTS)
        _, near = tree.query(points[band], NEIGHBOURS, distance_upper_bound=4 * voxel)
        there = near < len(points)
        near = np.where(there, near, 0)
        share = np.where(there, weight[near], 0)
        share /= share.sum(axis=1, keepdims=True)
        middle = np.einsum("nk,nkc->nc", share, points[near])
        spread = points[near] - middle[:, None]
        _, axes = np.linalg.eigh(np.einsum("nk,nkc,nkd->ncd", share, spread, spread))
        across = axes[:, :, 0]
        off = np.sum((middle - points[band]) * across, axis=1, keepdims=True)
        moved[band] = points[band] + across * off
        normals[band] = across * np.where(np.sum(across * towards[band], axis=1, keepdims=True) < 0, -1, 1)
    keys = pack_keys(np.floor(moved / voxel))
    order = np.argsort(keys, kind="stable")
    starts = np.flatnonzero(np.diff(keys[order], prepend=-1))
    total = np.add.reduceat(weight[order], starts)[:, None]
    values = np.concatenate([moved, normals, looks], axis=1) * weight[:, None]
    means = np.add.reduceat(values[order], starts) / total
    normals = means[:, 3:6] / np.maximum(np.linalg.norm(means[:, 3:6], axis=1, keepdims=True), 1e-9)
    return Cloud(means[:, :3], normals, means[:, 6:9], means[:, 9], voxel)
