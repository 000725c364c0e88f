"""Laws of the camera: there and back again, and the reference's recorded pixel maps."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from llava.geometry.camera import (
    gravity_turn,
    invert_pose,
    is_finite_pose,
    is_rigid_pose,
    nearest_rows_cols,
    project,
    scale_intrinsics,
    square_crop,
    unproject,
)

K = np.array([[570.0, 0, 321.5], [0, 575.0, 238.0], [0, 0, 1]])


@st.composite
def poses(draw: st.DrawFn) -> np.ndarray:
    angles = draw(st.tuples(*[st.floats(-180, 180)] * 3))
    pose = np.eye(4)
    pose[:3, :3] = Rotation.from_euler("xyz", angles, degrees=True).as_matrix()
    pose[:3, 3] = draw(st.tuples(*[st.floats(-8, 8)] * 3))
    return pose


@given(pose=poses(), seed=st.integers(0, 2**32 - 1))
def test_projecting_unprojected_depth_gives_the_pixel_back(pose: np.ndarray, seed: int) -> None:
    depth = np.random.default_rng(seed).uniform(0.3, 8, (5, 7))
    rows, cols = np.array([0, 40, 200, 333, 479]), np.arange(0, 640, 100)
    uv, z = project(unproject(depth, K, pose, rows, cols).astype(np.float64), K, pose)
    np.testing.assert_allclose(uv[..., 0], np.broadcast_to(cols, (5, 7)), atol=0.02)
    np.testing.assert_allclose(uv[..., 1], np.broadcast_to(rows[:, None], (5, 7)), atol=0.02)
    np.testing.assert_allclose(z, depth, atol=1e-5)


@given(pose=poses())
def test_a_pose_and_its_inverse_cancel(pose: np.ndarray) -> None:
    np.testing.assert_allclose(invert_pose(pose) @ pose, np.eye(4), atol=1e-9)
    assert is_finite_pose(pose) and is_rigid_pose(pose)


@given(first=poses(), second=poses())
def test_moving_the_camera_moves_the_points(first: np.ndarray, second: np.ndarray) -> None:
    depth = np.linspace(0.5, 5, 12).reshape(3, 4)
    moved = unproject(depth, K, second @ first)
    points = unproject(depth, K, first)
    np.testing.assert_allclose(moved, points @ second[:3, :3].T + second[:3, 3], atol=1e-4)


def test_unknown_depth_lies_at_the_camera_centre() -> None:
    pose = np.eye(4)
    pose[:3, 3] = (1, 2, 3)
    assert np.array_equal(unproject(np.zeros((2, 2)), K, pose), np.broadcast_to(np.float32([1, 2, 3]), (2, 2, 3)))


def test_scaled_intrinsics_see_the_same_rays() -> None:
    half = scale_intrinsics(K, (640, 480), (320, 120))
    point = np.array([[0.3, -0.2, 2.0]])
    uv, _ = project(point, K, np.eye(4))
    uv_half, _ = project(point, half, np.eye(4))
    np.testing.assert_allclose(uv_half, uv * (0.5, 0.25))
    np.testing.assert_allclose(scale_intrinsics(half, (320, 120), (640, 480)), K)


@pytest.mark.parametrize(
    ("change", "rigid"),
    [(np.diag([1.0, 1, -1, 1]), False), (np.diag([2.0, 2, 2, 1]), False), (np.diag([1.0, -1, -1, 1]), True)],
)
def test_mirrors_and_scales_are_no_rigid_pose(change: np.ndarray, rigid: bool) -> None:
    assert is_rigid_pose(change) is rigid


def test_infinite_pose() -> None:
    assert not is_finite_pose(np.full((4, 4), -np.inf))


@given(width=st.integers(8, 2000), height=st.integers(8, 2000), size=st.integers(4, 500))
def test_the_crop_is_a_centred_square_inside_the_picture(width: int, height: int, size: int) -> None:
    crop = square_crop(width, height, size)
    assert min(crop.width, crop.height) == size
    assert (crop.left, crop.top) == ((crop.width - size) // 2, (crop.height - size) // 2)
    rows, cols = nearest_rows_cols(width, height, size)
    assert len(rows) == len(cols) == size
    assert 0 <= rows.min() <= rows.max() < height and 0 <= cols.min() <= cols.max() < width
    turned = square_crop(height, width, size)
    if width != height:
        assert (turned.width, turned.left) == (crop.height, crop.top)


@pytest.mark.parametrize("down", [(0, 1, 0), (0, 0, -1), (0, 0, 1), (0.3, -0.5, 0.2), (1e-9, 0, 1)])
def test_gravity_turns_to_minus_z(down) -> None:
    align = gravity_turn(np.array(down))
    turned = align[:3, :3] @ (np.array(down) / np.linalg.norm(down))
    np.testing.assert_allclose(turned, (0, 0, -1), atol=1e-8)
    np.testing.assert_allclose(align[:3, :3] @ align[:3, :3].T, np.eye(3), atol=1e-9)
    assert np.linalg.det(align) == pytest.approx(1)
