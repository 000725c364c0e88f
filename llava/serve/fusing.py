"""All frames of a scan as one cloud of coloured points, in bounded memory, and the point that a click means."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from PIL import Image

from llava.captures.pixels import load_color, load_depth, some_frames
from llava.geometry.camera import unproject
from llava.geometry.voxels import VoxelSums
from llava.types import Scene

MOST_FRAMES = 300  # fused, evenly spread over the capture: what a person sees is complete long before
MOST_SAMPLES = 8_000_000  # pixels looked at, over all frames
MOST_POINTS = 400_000  # kept; a browser on a laptop turns them smoothly
VOXEL_SIZE = 0.015  # metres, to begin with
COARSER = 1.25  # by which voxels grow where the points would be too many
TOGETHER = 8  # frames in memory at a time
EDGE = 0.08  # jump in depth, as a share of it, at which a pixel mixes what is before and behind an edge


@dataclass(frozen=True)
class Cloud:
    """What a scan looks like: a point for each voxel that was seen."""

    points: np.ndarray  # (p, 3) float32 metres, the mean of what was seen in the voxel
    colors: np.ndarray  # (p, 3) uint8 RGB, likewise
    voxel_size: float  # metres
    frames: int  # how many frames were looked at


def fuse(scene: Scene, most_points: int = MOST_POINTS, most_frames: int = MOST_FRAMES) -> Cloud:
    """The scene's surfaces as at most ``most_points`` points, one a voxel.

    Frames stream through, a few at a time; voxels grow by a quarter as often as there are too many, so that memory is
    bounded whatever the scan's length and extent.

    ValueError: a file cannot be decoded, or there is no measured depth in any frame.
    """
    indices = some_frames(scene, most_frames)
    width, height = scene.depth_size
    step = max(1, int(np.ceil(np.sqrt(len(indices) * width * height / MOST_SAMPLES))))
    sums = VoxelSums(VOXEL_SIZE, values=3, most=most_points, growth=COARSER)
    with ThreadPoolExecutor(min(TOGETHER, os.cpu_count() or 1)) as pool:
        for start in range(0, len(indices), TOGETHER):
            group = indices[start : start + TOGETHER]
            for points, colors in pool.map(lambda index: _samples(scene, index, step), group):
                sums.add(points, np.ones((len(points), 1)), colors)
    _, points, colors = sums.means()
    if len(points) == 0:
        raise ValueError(f"scene {scene.name} has no measured depth in any frame: there are no points to show")
    return Cloud(points.astype(np.float32), np.rint(colors).astype(np.uint8), sums.voxel_size, len(indices))


def pick(points: np.ndarray, origin: Sequence[float], direction: Sequence[float], radius: float) -> np.ndarray | None:
    """The first of the points (p, 3) that a ray passes within ``radius`` (all metres); None: it passes all by."""
    direction = np.asarray(direction, np.float64) / np.linalg.norm(direction)
    away = points - np.asarray(origin, np.float64)
    along = away @ direction
    aside = np.einsum("pi,pi->p", away, away) - along**2
    hit = np.flatnonzero((along > 0) & (aside <= radius**2))
    return points[hit[np.argmin(along[hit])]] if len(hit) else None


def _samples(scene: Scene, index: int, step: int) -> tuple[np.ndarray, np.ndarray]:
    """Points (p, 3) float64 metres, world, and colours (p, 3) of every ``step``-th pixel of a frame that has depth."""
    width, height = scene.depth_size
    rows, cols = np.arange(0, height, step), np.arange(0, width, step)
    depth = load_depth(scene, index, rows, cols)
    colors = load_color(scene, index).resize((len(cols), len(rows)), Image.Resampling.NEAREST)
    points = unproject(depth, scene.depth_intrinsics, scene.frames[index].pose, rows, cols)
    keep = (depth > 0) & ~_mixed(depth)
    return points[keep].astype(np.float64), np.asarray(colors)[keep]


def _mixed(depth: np.ndarray) -> np.ndarray:
    """(H, W) bool: pixels at a jump of the depth (H, W), which sensors put into the air between two surfaces."""
    mixed = np.zeros(depth.shape, bool)
    for axis in (0, 1):
        first, second = (depth[1:], depth[:-1]) if axis == 0 else (depth[:, 1:], depth[:, :-1])
        jump = np.abs(first - second) > EDGE * np.minimum(first, second)
        jump &= (first > 0) & (second > 0)
        (mixed[1:] if axis == 0 else mixed[:, 1:])[jump] = True
        (mixed[:-1] if axis == 0 else mixed[:, :-1])[jump] = True
    return mixed
