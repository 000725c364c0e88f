"""Axis-aligned boxes ``(cx, cy, cz, dx, dy, dz)``: centre and full extents, metres."""

from __future__ import annotations

import numpy as np

# By the order of `corners`: pairs that differ in one coordinate, and triangles (12, 3) of the sides, turned outwards.
EDGES = np.array([(i, i | bit) for i in range(8) for bit in (1, 2, 4) if not i & bit])
FACES = np.array(
    [[0, 2, 1], [1, 2, 3], [4, 5, 6], [5, 7, 6], [0, 1, 4], [1, 5, 4], [2, 6, 3], [3, 6, 7], [0, 4, 2], [2, 4, 6]]
    + [[1, 3, 5], [3, 7, 5]]
)

EPSILON = 1e-8  # in the IoU's denominator, as the reference's scorer has it: borderline scores depend on it


def boxes_from_points(points: np.ndarray, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Smallest box around the points of each id.

    Args:
        points: (p, 3) metres.
        ids: (p,) integers; points to leave out are for the caller to drop.

    Returns:
        The distinct ids (n,), ascending, and their boxes (n, 6) in the points' precision.
    """
    order = np.argsort(ids, kind="stable")
    found, starts = np.unique(ids[order], return_index=True)
    if len(found) == 0:
        return found, np.zeros((0, 6), points.dtype)
    low = np.minimum.reduceat(points[order], starts)
    high = np.maximum.reduceat(points[order], starts)
    return found, np.concatenate([(low + high) / 2, high - low], axis=1)


def bounds(boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest corner, each (..., 3), of boxes (..., 6)."""
    half = boxes[..., 3:] / 2
    return boxes[..., :3] - half, boxes[..., :3] + half


def boxes_from_bounds(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Boxes (..., 6) of the lowest and highest corners, each (..., 3)."""
    return np.concatenate([(low + high) / 2, high - low], axis=-1)


def corners(boxes: np.ndarray) -> np.ndarray:
    """The eight corners (..., 8, 3) of boxes (..., 6), x changing fastest, then y, then z."""
    signs = np.array([[x, y, z] for z in (-0.5, 0.5) for y in (-0.5, 0.5) for x in (-0.5, 0.5)], boxes.dtype)
    return boxes[..., None, :3] + signs * boxes[..., None, 3:]


def edges(boxes: np.ndarray) -> np.ndarray:
    """The twelve edges (..., 12, 2, 3) of boxes (..., 6): their two ends."""
    return corners(boxes)[..., EDGES, :]


def volume(boxes: np.ndarray) -> np.ndarray:
    """Volume (...) of boxes (..., 6), cubic metres."""
    return np.prod(boxes[..., 3:], axis=-1)


def iou(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Intersection over union (n, m) of every pair of boxes (n, 6) and (m, 6)."""
    low_a, high_a = bounds(first[:, None])
    low_b, high_b = bounds(second[None])
    overlap = np.minimum(high_a, high_b) - np.maximum(low_a, low_b)
    shared = np.prod(np.maximum(overlap, 0), axis=-1)
    return shared / (volume(first)[:, None] + volume(second)[None] - shared + EPSILON)


def contains(boxes: np.ndarray, points: np.ndarray) -> np.ndarray:
    """(n, ...) bool: which of the points (..., 3) lie in which of the boxes (n, 6), faces included."""
    low, high = bounds(boxes)
    shape = (len(boxes),) + (1,) * (points.ndim - 1) + (3,)
    return np.all((points >= low.reshape(shape)) & (points <= high.reshape(shape)), axis=-1)


def rotate_quarter(values: np.ndarray, quarters: int) -> np.ndarray:
    """Boxes (..., 6) or points (..., 3), turned about the world's z axis by quarters of 90 degrees, exactly.

    ValueError where the last dimension is neither 3 nor 6.
    """
    values = np.asarray(values)
    if values.shape[-1] not in (3, 6):
        raise ValueError(f"expected points (..., 3) or boxes (..., 6), got shape {values.shape}")
    cos, sin = ((1, 0), (0, 1), (-1, 0), (0, -1))[quarters % 4]
    turned = values.copy()
    turned[..., 0] = cos * values[..., 0] - sin * values[..., 1]
    turned[..., 1] = sin * values[..., 0] + cos * values[..., 1]
    if values.shape[-1] == 6 and quarters % 2:
        turned[..., 3], turned[..., 4] = values[..., 4], values[..., 3]
    return turned
