"""Captures in the coordinates of maps, and cameras that a tracker has lost: neither costs precision."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from llava.captures import open_scene
from llava.captures.importing import import_scene
from tests.captures.walk import room_walk
from tests.captures.writers import posed_folder

LEVEL = np.cos(np.radians(1))
MAP = np.array([4.5e5, 5.2e6, 300])  # metres, as UTM has them


@pytest.fixture
def capture(tmp_path: Path) -> tuple[Path, np.ndarray]:
    folder = tmp_path / "capture"
    folder.mkdir()
    return posed_folder.write(room_walk(), folder)


def rewrite(folder: Path, change: Callable[[int, np.ndarray], np.ndarray]) -> None:
    """Change where the cameras stand."""
    for index, file in enumerate(sorted(folder.glob("*.pose.txt"))):
        pose = np.loadtxt(file)
        pose[:3, 3] = change(index, pose[:3, 3])
        np.savetxt(file, pose, "%.9e")


@pytest.mark.parametrize("up", [None, "told"])
def test_a_capture_on_a_map(capture: tuple[Path, np.ndarray], up: str | None, tmp_path: Path) -> None:
    """Float32 would make its points half a metre coarse, so that no floor is level."""
    folder, own = capture
    rewrite(folder, lambda _, place: place + MAP)
    (folder / "gravity-direction.txt").unlink()
    scene = import_scene(folder, tmp_path / "scene", up and own[:3, 2])
    assert (scene.align @ own)[2, 2] > LEVEL and scene.up
    for frame, pose in zip(scene.frames, room_walk().poses, strict=True):
        there = own @ pose
        there[:3, 3] += MAP
        np.testing.assert_allclose(frame.pose, scene.align @ there, atol=0.01)
    assert np.abs([frame.pose[:3, 3] for frame in scene.frames]).max() < 20
    assert np.abs([frame.pose[:3, 3] for frame in open_scene(folder).frames]).max() < 20, "where it lies, too"


@pytest.mark.parametrize("far", [3e4, 1e9, 1e300])
def test_a_camera_that_was_lost(capture: tuple[Path, np.ndarray], far: float, tmp_path: Path) -> None:
    rewrite(capture[0], lambda index, place: place + (far if index == 5 else 0))
    scene = import_scene(capture[0], tmp_path / "scene")
    (dropped,) = scene.dropped
    assert dropped.name == "frame-000005" and "away from the others" in dropped.reason
    assert np.abs(scene.frames[0].pose[:3, 3]).max() < 20
    assert json.loads((tmp_path / "scene/scene.json").read_text())["dropped"][0]["name"] == "frame-000005"


def test_cameras_that_are_everywhere(capture: tuple[Path, np.ndarray], tmp_path: Path) -> None:
    rewrite(capture[0], lambda index, place: place + 1e6 * index)
    with pytest.raises(ValueError, match="m away from their middle: expected poses within 50000"):
        import_scene(capture[0], tmp_path / "out/scene")
    assert list((tmp_path / "out").iterdir()) == []
