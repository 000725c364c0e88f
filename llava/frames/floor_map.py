"""A scene seen from above, in its own colours, with what the chosen frames miss hatched out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from llava.captures.pixels import load_color, load_depth
from llava.geometry.camera import unproject
from llava.geometry.voxels import VOXEL_SIZE, unpack_keys
from llava.types import Scene

CELL = 0.025  # metres, a pixel of the map
VIEW_HEIGHT = 2.0  # metres above the floor: what lies higher would hide the room in a map from above
MAP_COLUMNS = 256  # of each picture; more points than the map can show are not read
SURFACE = 0.1  # metres below its highest point that a place shows
MISSED = np.array([222, 78, 58])  # hatches what no chosen frame sees
PAPER_RGB = (251, 250, 247)


@dataclass(frozen=True)
class FloorMap:
    """A scene seen from above."""

    image: np.ndarray  # (rows, cols, 3) uint8, row 0 at the lowest y
    extent: tuple[float, float, float, float]  # x from, x to, y from, y to, metres


def floor_map(scene: Scene, chosen: Sequence[int], voxels: list[np.ndarray]) -> FloorMap:
    """The scene from above in its own colours; what the chosen frames miss is faded and hatched.

    What lies more than ``VIEW_HEIGHT`` above the floor is cut off, as the ceiling would hide the rest.
    """
    points, rgb = _colored_points(scene)
    if len(points) == 0:
        return FloorMap(np.full((1, 1, 3), 255, np.uint8), (-1.0, 1.0, -1.0, 1.0))
    below = points[:, 2] < np.percentile(points[:, 2], 2) + VIEW_HEIGHT
    points, rgb = points[below], rgb[below]
    # A few stray points at a window or in a mirror must not shrink the room to a spot.
    low, high = np.percentile(points[:, :2], [0.3, 99.7], axis=0) + [[-0.15], [0.15]]
    kept = np.all((points[:, :2] > low) & (points[:, :2] < high), axis=1)
    points, rgb = points[kept], rgb[kept]
    cols, rows = ((points[:, :2] - low) / CELL).astype(int).T
    shape = tuple(np.ceil((high - low) / CELL).astype(int)[::-1])
    top = np.full(shape, -np.inf)
    np.maximum.at(top, (rows, cols), points[:, 2])
    surface = points[:, 2] > top[rows, cols] - SURFACE
    rows, cols, points, rgb = rows[surface], cols[surface], points[surface], rgb[surface]
    counts = np.bincount(rows * shape[1] + cols, minlength=shape[0] * shape[1]).reshape(shape)
    image = np.zeros((*shape, 3))
    np.add.at(image, (rows, cols), rgb)
    image /= np.maximum(counts, 1)[..., None]
    painted = counts > 0
    _fill_pinholes(image, painted)
    y, x = np.nonzero(painted)
    missed = np.zeros(shape)
    missed[y, x] = 1 - _seen_share(low + (np.stack([x, y], axis=1) + 0.5) * CELL, chosen, voxels)
    image = _fade(image, missed[..., None])
    image[~painted] = PAPER_RGB
    return FloorMap(image.astype(np.uint8), (low[0], high[0], low[1], high[1]))


def _fade(image: np.ndarray, missed: np.ndarray) -> np.ndarray:
    """Wash out an image (H, W, 3) by ``missed`` (H, W, 1), 0..1, and hatch it: rooms have any colour already."""
    hatch = (np.add.outer(np.arange(image.shape[0]), np.arange(image.shape[1])) // 2 % 4 == 0)[..., None]
    pale = 0.25 * image.mean(axis=-1, keepdims=True) + 0.75 * np.array(PAPER_RGB)
    faded = image * (1 - missed) + pale * missed
    return np.where(hatch & (missed > 0.5), MISSED, faded)


def _colored_points(scene: Scene) -> tuple[np.ndarray, np.ndarray]:
    width, height = scene.depth_size
    step = max(1, width // MAP_COLUMNS)
    rows, cols = np.arange(0, height, step), np.arange(0, width, step)
    points, colors = [], []
    for index, frame in enumerate(scene.frames):
        depth = load_depth(scene, index)[::step, ::step]
        seen = depth > 0
        color = load_color(scene, index).resize((len(cols), len(rows)), Image.Resampling.BOX)
        points.append(unproject(depth, scene.depth_intrinsics, frame.pose, rows, cols)[seen])
        colors.append(np.asarray(color)[seen])
    return np.concatenate(points), np.concatenate(colors).astype(float)


def _seen_share(points: np.ndarray, chosen: Sequence[int], voxels: list[np.ndarray]) -> np.ndarray:
    """For each point (p, 2): of the voxels above and below it, the share that a chosen frame sees."""
    every = np.unique(np.concatenate(voxels))
    seen = np.isin(every, np.concatenate([voxels[index] for index in chosen]))
    columns = unpack_keys(every)[:, :2]
    origin = columns.min(axis=0)
    counts = np.zeros((2, *(columns.max(axis=0) - origin + 1)))
    np.add.at(counts, (0, *(columns - origin).T), seen)
    np.add.at(counts, (1, *(columns - origin).T), 1)
    share = counts[0] / np.maximum(counts[1], 1)
    at = np.rint(points / VOXEL_SIZE).astype(int) - origin
    return share[tuple(np.clip(at, 0, np.array(share.shape) - 1).T)]


def _fill_pinholes(image: np.ndarray, painted: np.ndarray) -> None:
    """Give an empty pixel the mean of its painted neighbours when most of them are painted, twice."""
    for _ in range(2):
        around = [(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1) if (dy, dx) != (0, 0)]
        count = sum(_shifted(painted.astype(float), *shift) for shift in around)
        total = sum(_shifted(image * painted[..., None], *shift) for shift in around)
        holes = ~painted & (count >= 4)
        image[holes] = total[holes] / count[holes][:, None]
        painted |= holes


def _shifted(values: np.ndarray, dy: int, dx: int) -> np.ndarray:
    padded = np.pad(values, ((1, 1), (1, 1), *((0, 0),) * (values.ndim - 2)))
    return padded[1 + dy : 1 + dy + values.shape[0], 1 + dx : 1 + dx + values.shape[1]]
