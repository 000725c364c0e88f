"""Fused points lie on the surfaces that the frames saw, as few as asked for; a click means the point in front."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from llava.geometry.voxels import pack_keys
from llava.serve.fusing import VOXEL_SIZE, fuse, pick
from llava.types import Frame, Scene

SIZE = (64, 48)
K = np.array([[60.0, 0, 31.5], [0, 60, 23.5], [0, 0, 1]])


@pytest.fixture
def wall(tmp_path: Path) -> Scene:
    """Two cameras that look along x at a wall at x = 2: red for the first, blue for the second, 3 m beside it."""
    pose = np.array([[0, 0, 1.0, 0], [-1, 0, 0, 0], [0, -1, 0, 1.5], [0, 0, 0, 1]])
    Image.fromarray(np.full(SIZE[::-1], 2000, np.uint16)).save(tmp_path / "depth.png")
    frames = []
    for number, color in enumerate([(200, 10, 10), (10, 10, 200)]):
        Image.new("RGB", (128, 96), color).save(tmp_path / f"{number}.png")
        moved = pose.copy()
        moved[1, 3] = 3 * number
        frames.append(Frame(str(number), tmp_path / f"{number}.png", tmp_path / "depth.png", moved))
    return Scene("wall", tuple(frames), (128, 96), SIZE, 2 * K, K)


def test_points_lie_on_the_wall_in_its_colours(wall: Scene) -> None:
    cloud = fuse(wall)
    assert np.allclose(cloud.points[:, 0], 2, atol=1e-5)
    left = cloud.points[:, 1] < 1.5
    assert (cloud.colors[left] == (200, 10, 10)).all()
    assert (cloud.colors[~left] == (10, 10, 200)).all()
    half = 2 * 24 / 60  # metres that a camera sees to either side of its axis, upwards
    assert np.allclose(cloud.points[:, 2].min(), 1.5 - half, atol=0.04)
    assert cloud.frames == 2 and cloud.voxel_size == VOXEL_SIZE


@pytest.mark.parametrize("most", [1000, 50, 2])
def test_voxels_grow_until_there_are_few_enough_points(wall: Scene, most: int) -> None:
    cloud = fuse(wall, most_points=most)
    assert most / 4 <= len(cloud.points) <= most
    assert np.allclose(cloud.points[:, 0], 2, atol=1e-5)
    assert len(np.unique(pack_keys(np.floor(cloud.points / cloud.voxel_size)))) == len(cloud.points)


def test_long_captures_are_thinned_out_evenly(wall: Scene) -> None:
    first, last = wall.frames
    cloud = fuse(replace(wall, frames=(first,) * 500 + (last,) * 500), most_frames=4)
    assert cloud.frames == 4
    assert {tuple(color) for color in cloud.colors.tolist()} == {(200, 10, 10), (10, 10, 200)}


def test_a_point_is_the_mean_of_what_was_seen_there_by_all_frames(wall: Scene) -> None:
    first, last = wall.frames
    over = replace(wall, frames=(first, replace(last, pose=first.pose), first))
    assert (fuse(over).colors == np.rint(np.array([2 * 200 + 10, 30, 2 * 10 + 200]) / 3)).all()


def test_pixels_between_two_surfaces_are_left_out(wall: Scene) -> None:
    depth = np.full(SIZE[::-1], 2000, np.uint16)
    depth[:, 32:] = 3000
    depth[:, 31] = 2500  # what sensors measure at an edge
    depth[:10] = 0
    Image.fromarray(depth).save(wall.frames[0].depth)
    xs = fuse(wall).points[:, 0]
    assert set(np.unique(xs.round(3))) == {2.0, 3.0}


def test_no_depth_at_all_is_told(wall: Scene) -> None:
    Image.fromarray(np.zeros(SIZE[::-1], np.uint16)).save(wall.frames[0].depth)
    with pytest.raises(ValueError, match="no measured depth"):
        fuse(wall)


def test_a_click_means_the_nearest_point_on_its_way() -> None:
    points = np.array([[1.0, 0, 0], [2, 0.01, 0], [5, 0, 0], [-1, 0, 0], [1, 1, 0]], np.float32)
    origin = (0.5, 0, 0)
    assert pick(points, origin, (3, 0, 0), radius=0.02).tolist() == [1, 0, 0]
    assert pick(points[1:], origin, (3, 0, 0), radius=0.02)[0] == 2
    assert pick(points, origin, (0, 0, 1), radius=0.02) is None
    assert pick(points, origin, (-1, 0, 0), radius=0.02).tolist() == [-1, 0, 0]
