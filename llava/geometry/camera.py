"""Pinhole cameras: pixels to points and back, poses, and the square crop that every picture goes through.

Pixels sit on an integer grid: column ``u`` and row ``v`` of a camera with principal point ``(cx, cy)`` look
along ``((u - cx) / fx, (v - cy) / fy, 1)``, without the half pixel of other conventions, as in ScanNet.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

OPENGL_AXES = np.diag([1.0, -1.0, -1.0, 1.0])  # camera axes of OpenCV -> those of OpenGL (y up, z backward), and back
RIGID_TOLERANCE = 1e-2  # on the entries of R R^T - 1; text files carry six digits, trackers drift a little


class Crop(NamedTuple):
    """A picture is resized to ``width`` x ``height``; the square that begins at ``(left, top)`` is kept."""

    width: int
    height: int
    left: int
    top: int


def scale_intrinsics(intrinsics: np.ndarray, from_size: tuple[int, int], to_size: tuple[int, int]) -> np.ndarray:
    """Intrinsics (3, 3) of the same camera at another resolution.

    Args:
        intrinsics: (3, 3) or (4, 4) for pictures of ``from_size``.
        from_size: ``(width, height)`` that the intrinsics were made for.
        to_size: ``(width, height)`` wanted.
    """
    scaled = np.array(intrinsics, np.float64)[:3, :3]
    scaled[0] *= to_size[0] / from_size[0]
    scaled[1] *= to_size[1] / from_size[1]
    return scaled


def unproject(
    depth: np.ndarray,
    intrinsics: np.ndarray,
    pose: np.ndarray,
    rows: np.ndarray | None = None,
    cols: np.ndarray | None = None,
) -> np.ndarray:
    """World points (H, W, 3) float32 of a depth image; depth 0 gives the camera centre.

    The result is a view of three planes: what goes through it axis by axis reads memory in order.

    Args:
        depth: (H, W) metres along the optical axis.
        intrinsics: (3, 3) or (4, 4), of the image that ``rows`` and ``cols`` count in.
        pose: (4, 4) camera to world.
        rows, cols: (H,) and (W,) pixel coordinates of the depth values, where the image was resized or
            cropped by picking pixels; the default is every pixel once.
    """
    height, width = depth.shape
    rows = np.arange(height) if rows is None else rows
    cols = np.arange(width) if cols is None else cols
    x = ((cols - intrinsics[0, 2]) / intrinsics[0, 0]).astype(np.float32)
    y = ((rows - intrinsics[1, 2]) / intrinsics[1, 1]).astype(np.float32)
    depth = depth.astype(np.float32, copy=False)
    pose = np.asarray(pose, np.float32)
    planes = np.empty((3, height, width), np.float32)
    for axis, plane in enumerate(planes):
        np.add((x * pose[axis, 0] + pose[axis, 2])[None, :], (y * pose[axis, 1])[:, None], out=plane)
        plane *= depth
        plane += pose[axis, 3]
    return np.moveaxis(planes, 0, -1)


def project(points: np.ndarray, intrinsics: np.ndarray, pose: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pixel coordinates ``uv`` (..., 2) and depth ``z`` (...) of world points; ``uv`` means nothing where z <= 0.

    Args:
        points: (..., 3) metres, world.
        intrinsics: (3, 3) or (4, 4).
        pose: (4, 4) camera to world.
    """
    to_camera = invert_pose(pose)
    camera = points @ to_camera[:3, :3].T + to_camera[:3, 3]
    z = camera[..., 2]
    with np.errstate(divide="ignore", invalid="ignore"):
        u = camera[..., 0] / z * intrinsics[0, 0] + intrinsics[0, 2]
        v = camera[..., 1] / z * intrinsics[1, 1] + intrinsics[1, 2]
    return np.stack([u, v], axis=-1), z


def is_finite_pose(pose: np.ndarray) -> bool:
    """Whether every number of a pose is finite; trackers write -inf or NaN where they lost the camera."""
    return bool(np.isfinite(pose).all())


def is_rigid_pose(pose: np.ndarray) -> bool:
    """Whether a finite (4, 4) pose is a rotation (no mirror, no scale) and a translation."""
    rotation = pose[:3, :3]
    orthonormal = np.abs(rotation @ rotation.T - np.eye(3)).max() < RIGID_TOLERANCE
    return bool(orthonormal and np.linalg.det(rotation) > 0 and np.allclose(pose[3], (0, 0, 0, 1)))


def invert_pose(pose: np.ndarray) -> np.ndarray:
    """Inverse (4, 4) float64 of a pose; exact to rounding even where its rotation is slightly off."""
    return np.linalg.inv(np.asarray(pose, np.float64))


def gravity_turn(down: np.ndarray) -> np.ndarray:
    """The smallest rotation (4, 4) that turns the direction ``down`` (3,) into -z (Rodrigues' formula)."""
    down = np.asarray(down, np.float64) / np.linalg.norm(down)
    target = np.array([0.0, 0.0, -1.0])
    axis, cos = np.cross(down, target), float(down @ target)
    turn = np.eye(4)
    if cos < -1 + 1e-12:  # upside down: any half turn about a horizontal axis
        turn[:3, :3] = np.diag([1.0, -1.0, -1.0])
        return turn
    skew = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    turn[:3, :3] += skew + skew @ skew / (1 + cos)
    return turn


def square_crop(width: int, height: int, size: int) -> Crop:
    """How a picture becomes ``size`` x ``size``: its short side is resized to ``size``, its long side cropped evenly.

    Rounding follows the reference (Video-3D LLM) for landscape pictures and mirrors it for portrait ones.
    """
    if width >= height:
        new_width = max(size, int(width * (size / height)))  # int() may lose a square picture's last pixel
        return Crop(new_width, size, (new_width - size) // 2, 0)
    new_height = max(size, int(height * (size / width)))
    return Crop(size, new_height, 0, (new_height - size) // 2)


def nearest_rows_cols(width: int, height: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Source ``rows`` (size,) and ``cols`` (size,) of ``square_crop`` by nearest-neighbour resizing.

    Picks the pixels that OpenCV's ``INTER_NEAREST`` picks (it rounds towards zero, not to the nearest centre).
    """
    crop = square_crop(width, height, size)
    rows = _nearest(height, crop.height)[crop.top : crop.top + size]
    cols = _nearest(width, crop.width)[crop.left : crop.left + size]
    return rows, cols


def _nearest(source: int, target: int) -> np.ndarray:
    step = 1.0 / (target / source)  # in this order, as OpenCV computes it: the last bit decides some pixels
    return np.minimum(np.floor(np.arange(target) * step).astype(np.int64), source - 1)
