"""Boxes have their twelve edges, frusta their camera's angles, and cells are the voxels that the model counts."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from llava.geometry.boxes import FACES
from llava.model.position_encodings import discretise
from llava.model.positions import Positions
from llava.serve import shapes
from llava.types import Frame, Scene


def test_the_cube_is_closed_and_turned_outwards() -> None:
    faces = shapes.CUBE[FACES]
    normals = np.cross(faces[:, 1] - faces[:, 0], faces[:, 2] - faces[:, 0])
    assert (np.einsum("fi,fi->f", normals, faces.mean(axis=1)) > 0).all()
    assert np.allclose(np.einsum("fi,fi->f", normals, faces[:, 0]).sum() / 6, 1)  # its volume


@pytest.mark.parametrize(("frames", "most", "segments"), [(1, 1000, 0), (5, 1000, 4), (50, 10, 9)])
def test_the_path_goes_from_the_first_frame_to_the_last(frames: int, most: int, segments: int) -> None:
    poses = np.tile(np.eye(4), (frames, 1, 1))
    poses[:, 0, 3] = np.arange(frames)
    made = tuple(Frame(str(n), None, None, pose) for n, pose in enumerate(poses))
    path = shapes.path_segments(Scene("walk", made, (4, 3), (4, 3), np.eye(3), np.eye(3)), most)
    assert path.shape == (segments, 2, 3)
    if segments:
        assert path[0, 0, 0] == 0 and path[-1, 1, 0] == frames - 1
        assert np.array_equal(path[1:, 0], path[:-1, 1])


def test_angles_of_a_view() -> None:
    fov, aspect = shapes.view_angles(np.array([[50.0, 0, 32], [0, 24, 24], [0, 0, 1]]), (100, 48))
    assert np.degrees(fov) == pytest.approx(90)
    assert aspect == pytest.approx(1)  # 100 / 50 over 48 / 24


def test_pictures_lie_before_their_cameras_as_large_as_these_see() -> None:
    pose = np.array([[0, 0, 1.0, 5], [-1, 0, 0, 6], [0, -1, 0, 7], [0, 0, 0, 1]])  # looks along x
    (middle,), half = shapes.pictures(pose[None], np.radians(90), 3.0, scale=0.2)
    assert middle == pytest.approx((5.2, 6, 7)) and half == pytest.approx(0.2)


def test_a_scene_is_first_seen_from_above_and_outside() -> None:
    points = np.random.default_rng(0).uniform((0, 0, 0), (6, 4, 2.5), (5000, 3))
    eye, target = shapes.overview(points)
    assert np.allclose(target, (3, 2, 1.25), atol=0.1)
    assert eye[2] > 3 and (np.abs(eye[:2] - target[:2]) > (3, 2)).any()
    assert shapes.ceiling(points) == pytest.approx(2.5 - shapes.CEILING, abs=0.1)
    assert shapes.ceiling(points * 0.3) == np.inf  # a desk has no ceiling


@pytest.mark.parametrize("several", [1, 2])
def test_cells_are_the_voxels_that_the_encoding_counts(several: int) -> None:
    random, positions = np.random.default_rng(0), Positions(voxel_size=0.5, lo=(-2.0, -2.0, -1.0), hi=(2.0, 2.0, 1.0))
    coords = random.uniform(-3, 3, (3, 4, 4, 3 * several)).astype(np.float32)
    valid = random.random((3, 4, 4)) < 0.6
    cells = shapes.encoding_cells(coords, valid, positions)
    expected = {}
    for view, row, column in np.argwhere(valid):
        for point in coords[view, row, column].reshape(-1, 3):
            index = discretise(torch.from_numpy(point), positions.voxel_size, positions.lo, positions.hi)
            expected.setdefault(tuple((index.numpy() * 0.5 + positions.lo).tolist()), view)
    assert {tuple(middle): view for middle, view in zip(cells.middles.tolist(), cells.views, strict=True)} == expected
    assert cells.side == 0.5


def test_nothing_measured_has_no_cells() -> None:
    nothing = np.zeros((0, 4, 4, 3), np.float32)
    assert len(shapes.encoding_cells(nothing, np.zeros((0, 4, 4), bool), Positions()).middles) == 0
