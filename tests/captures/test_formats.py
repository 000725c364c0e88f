"""Every format: one walk through a room, written as the format's own specification says, is read as it was.

A format's writer is ``writers/<module of the reader>.py`` with ``write(walk, folder)``: it fills the empty folder and
returns the path to import and ``own``, the (4, 4) motion from the walk's world to that of the capture's own poses.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial import cKDTree

from llava.captures import READERS, find_reader, open_scene
from llava.captures.importing import import_scene
from llava.captures.pixels import load_color, load_depth
from llava.geometry.camera import unproject
from llava.types import Scene
from tests.captures.walk import Walk, room_walk

NEAR = 0.01  # metres
SHARE = 0.995  # of the points; a format may lose some at depth edges
LEVEL = np.cos(np.radians(1))


@pytest.mark.parametrize("name", READERS)
def test_a_walk_comes_back(name: str, tmp_path: Path) -> None:
    walk, folder = room_walk(), tmp_path / "capture"
    folder.mkdir()
    path, own = import_module(f"tests.captures.writers.{name}").write(walk, folder)
    reader = find_reader(path)
    assert reader.__name__ == f"llava.captures.{name}"
    before = sorted(folder.rglob("*"))
    scene = import_scene(path, tmp_path / "out/scene")
    assert sorted(folder.rglob("*")) == before, "the capture is left alone"
    assert [each.name for each in (tmp_path / "out").iterdir()] == ["scene"]
    assert_same(scene, walk, own)
    assert scene.up and (scene.align @ own)[2, 2] > LEVEL
    lowest = min(np.percentile(world_points(scene, index)[..., 2], 1) for index in range(len(scene.frames)))
    assert abs(lowest) < 0.03, "the floor is at 0"
    if reader.PACKED:
        with pytest.raises(ValueError, match="llava import"):
            open_scene(path)
    else:
        assert_same(open_scene(path), walk, own)


def assert_same(scene: Scene, walk: Walk, own: np.ndarray) -> None:
    """Same frames, same pictures, and each point where it is in the walk's world, or near some point that is."""
    assert len(scene.frames) == len(walk.poses) and scene.dropped == ()
    change = scene.align @ own
    for index in range(len(scene.frames)):
        expected = walk.points(index) @ change[:3, :3].T + change[:3, 3]
        points, measured = world_points(scene, index), load_depth(scene, index) > 0
        if scene.depth_size == walk.size:
            away = np.linalg.norm(points - expected, axis=-1)[measured]
        else:
            away = cKDTree(expected.reshape(-1, 3)).query(points[measured])[0]
        assert measured.mean() > 0.9 and (away < NEAR).mean() > SHARE
        picture = np.asarray(load_color(scene, index).resize(walk.size), np.float32)
        assert np.abs(picture - walk.color[index]).mean() < 6


def world_points(scene: Scene, index: int) -> np.ndarray:
    return unproject(load_depth(scene, index), scene.depth_intrinsics, scene.frames[index].pose)
