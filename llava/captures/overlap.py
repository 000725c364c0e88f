"""Do the frames of a capture measure the same world? Depth, poses and intrinsics held against each other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from llava.geometry.camera import scale_intrinsics

GAPS = (1, 2, 4, 8, 16)  # frames between those of a pair: neighbours alone move too little to show a mistake
MOST_PAIRS = 100  # ordered pairs that are compared, evenly spread
GRID_ROWS = 40  # rows of a frame's points that are looked for in another frame
MIN_OVERLAP = 0.4  # of a frame's points that the other frame must see, too
NEAR = 4.0  # metres; beyond, the noise of depth cameras (which grows with the square) hides that of the poses
REACH = 2  # pixels to each side that a surface's direction is taken from
AGREED = 0.01  # of the depth: a distance at which two measurements agree half


@dataclass(frozen=True)
class Geometry:
    """What is believed of n frames: (h, w) depth images with one camera, and where it stood."""

    depths: np.ndarray  # (n, h, w) float32 metres, 0: unknown
    intrinsics: np.ndarray  # (3, 3) of these images
    poses: np.ndarray  # (n, 4, 4) camera to world


@dataclass(frozen=True)
class Agreement:
    """How well n frames agree about the world."""

    error: float | None  # metres, the median reprojection error; None: no frames overlap
    pairs: int  # ordered pairs of frames that overlap
    score: float  # 0..1, of all points looked for in other frames: a found one counts the more the nearer it is
    errors: np.ndarray  # (m,) metres, of all points that count for the median


def agreement(seen: Geometry) -> Agreement:
    """The median reprojection error between overlapping frames, in metres, and how far the frames agree at all.

    A point that frame A measured is projected into frame B. Its error is its distance from the plane of the surface
    that B measured in that pixel, |n . (p - q)|, the residual of projective point-to-plane ICP (Newcombe et al.,
    "KinectFusion", ISMAR 2011); the plain difference of the depths would punish surfaces seen at a grazing angle for
    half a pixel. Frames are compared both ways with those 1, 2, 4, 8 and 16 after them, and a pair counts where B has
    depth for ``MIN_OVERLAP`` of A's points. The median goes over all their points up to ``NEAR`` metres from B, or
    up to B's median depth where that is farther; points hidden from B are outvoted. It is not given in pixels, because
    nothing says which two pixels show the same thing.
    """
    every, total, score = [np.zeros(0)], 0, 0.0
    pairs = 0
    for a, b in _pairs(len(seen.depths)):
        looked_for, errors, depth = _distances(seen, a, b)
        total += looked_for
        score += float(np.sum(1 / (1 + (errors / (AGREED * depth)) ** 2)))
        if looked_for and len(errors) >= MIN_OVERLAP * looked_for:
            pairs += 1
            every.append(errors[depth <= max(NEAR, np.median(depth))])
    errors = np.concatenate(every)
    return Agreement(float(np.median(errors)) if len(errors) else None, pairs, score / max(1, total), errors)


def thinned(depth: np.ndarray, most_columns: int = 320) -> tuple[np.ndarray, int]:
    """Every ``step``-th pixel of a depth image, as many as are compared, and the step."""
    step = -(-depth.shape[1] // most_columns)
    return depth[::step, ::step], step


def thinned_intrinsics(intrinsics: np.ndarray, step: int) -> np.ndarray:
    """Of the camera whose pixels are every ``step``-th one."""
    return scale_intrinsics(intrinsics, (step, step), (1, 1))


def _pairs(count: int) -> Iterator[tuple[int, int]]:
    every = [(i, i + gap) for gap in GAPS for i in range(count - gap)]
    kept = np.unique(np.linspace(0, len(every) - 1, min(len(every), MOST_PAIRS // 2), dtype=int)) if every else []
    for index in kept:
        yield every[index]
        yield every[index][::-1]


def _distances(seen: Geometry, a: int, b: int) -> tuple[int, np.ndarray, np.ndarray]:
    """How many points of frame a are looked for in b, and of those found (m,) the errors and b's depths, metres."""
    points = _camera_points(seen, a)
    there = np.linalg.inv(seen.poses[b]) @ seen.poses[a]
    moved = points @ there[:3, :3].T + there[:3, 3]
    moved = moved[moved[:, 2] > 0]
    k, depth = seen.intrinsics, seen.depths[b]
    height, width = depth.shape
    with np.errstate(over="ignore"):
        col = moved[:, 0] / moved[:, 2] * k[0, 0] + k[0, 2]
        row = moved[:, 1] / moved[:, 2] * k[1, 1] + k[1, 2]
    inside = (col >= REACH) & (col < width - REACH - 1) & (row >= REACH) & (row < height - REACH - 1)
    col, row, moved = np.rint(col[inside]).astype(int), np.rint(row[inside]).astype(int), moved[inside]

    def surface(rows: np.ndarray, cols: np.ndarray) -> np.ndarray:
        z = depth[rows, cols]
        return np.stack([(cols - k[0, 2]) / k[0, 0] * z, (rows - k[1, 2]) / k[1, 1] * z, z], axis=-1)

    here = surface(row, col)
    around = [(0, REACH), (0, -REACH), (REACH, 0), (-REACH, 0)]
    right, left, below, above = (surface(row + dy, col + dx) for dy, dx in around)
    normal = np.cross(right - left, below - above)
    length = np.linalg.norm(normal, axis=1)
    z = np.stack([side[:, 2] for side in (here, right, left, below, above)])
    known = (z > 0).all(axis=0) & (length > 0)
    off = np.abs(np.sum(normal[known] * (moved - here)[known], axis=1)) / length[known]
    return len(points), off, here[known, 2]


def _camera_points(seen: Geometry, index: int) -> np.ndarray:
    """Some points (p, 3) that a frame measured, in its camera's axes."""
    step = max(1, seen.depths.shape[1] // GRID_ROWS)
    depth, k = seen.depths[index][::step, ::step], seen.intrinsics
    rows, cols = np.nonzero(depth)
    z = depth[rows, cols]
    return np.stack([(cols * step - k[0, 2]) / k[0, 0] * z, (rows * step - k[1, 2]) / k[1, 1] * z, z], axis=-1)
