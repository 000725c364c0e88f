"""A capture that is read with a wrong convention is noticed, and the right one is named."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from llava.captures import open_scene
from llava.captures.check import Check, check
from llava.captures.conventions import ROBOT, TOO_FAR, better
from llava.captures.importing import import_scene
from llava.geometry.camera import OPENGL_AXES, invert_pose
from llava.types import Scene
from tests.captures.walk import Walk, room_walk
from tests.captures.writers import posed_folder

SHARED = Path(__file__).resolve().parents[2].parent / "shared"
OWN = posed_folder.TILTED


def rolled(walk: Walk, shift: int) -> np.ndarray:
    """The walk's poses as they come out where the numbers of the quaternions are taken in another order."""
    poses = OWN @ walk.poses
    quaternions = Rotation.from_matrix(poses[:, :3, :3]).as_quat()
    poses[:, :3, :3] = Rotation.from_quat(np.roll(quaternions, shift, axis=1)).as_matrix()
    return invert_pose(OWN) @ poses


def scaled(poses: np.ndarray, factor: float) -> np.ndarray:
    poses = OWN @ poses
    poses[:, :3, 3] *= factor
    return invert_pose(OWN) @ poses


def inverted(walk: Walk) -> np.ndarray:
    return invert_pose(OWN) @ invert_pose(OWN @ walk.poses)


# What the files hold, and what must be said about it.
FILES: dict[str, tuple[Callable[[Walk], Walk], str]] = {
    "world to camera": (lambda walk: replace(walk, poses=inverted(walk)), "poses are world-to-camera"),
    "OpenGL": (lambda walk: replace(walk, poses=walk.poses @ OPENGL_AXES), "camera axes are OpenGL's"),
    "world to OpenGL camera": (
        lambda walk: replace(walk, poses=invert_pose(OWN) @ invert_pose(OWN @ walk.poses @ OPENGL_AXES)),
        "poses are world-to-camera, camera axes OpenGL's",
    ),
    "robot": (lambda walk: replace(walk, poses=walk.poses @ invert_pose(ROBOT)), "camera axes are a robot's"),
    "w first": (lambda walk: replace(walk, poses=rolled(walk, 1)), "quaternions have w first"),
    "w last": (lambda walk: replace(walk, poses=rolled(walk, -1)), "quaternions have w last"),
    "poses in mm": (lambda walk: replace(walk, poses=scaled(walk.poses, 1000)), "poses are in millimetres"),
    "poses in cm": (lambda walk: replace(walk, poses=scaled(walk.poses, 100)), "poses are in centimetres"),
    "depth / 5000": (
        lambda walk: replace(walk, depth=walk.depth * 5),
        "a metre is 5000 depth units, not 1000 (--depth-units)",
    ),
    "depth / 100": (
        lambda walk: replace(walk, depth=walk.depth / 10),
        "a metre is 100 depth units, not 1000 (--depth-units)",
    ),
    "world to camera, and depth / 5000": (
        lambda walk: replace(walk, poses=inverted(walk), depth=walk.depth * 5),
        "poses are world-to-camera, and a metre is 5000 depth units, not 1000 (--depth-units)",
    ),
}
# What a reader may take wrongly that the writer of a posed folder cannot.
HALF = np.array([[0.5], [0.5], [1]])
READ: dict[str, tuple[Callable[[Scene], Scene], str]] = {
    "depth / 1": (lambda scene: replace(scene, depth_scale=1.0), "a metre is 1000 depth units, not 1 (--depth-units)"),
    "depth / 1000000": (
        lambda scene: replace(scene, depth_scale=1e6),
        "a metre is 1000 depth units, not 1e+06 (--depth-units)",
    ),
    "half the size": (
        lambda scene: replace(scene, **dict.fromkeys(CAMERAS, scene.depth_intrinsics * HALF)),
        "intrinsics are for images of half the size",
    ),
    "twice the size": (
        lambda scene: replace(scene, **dict.fromkeys(CAMERAS, scene.depth_intrinsics / HALF)),
        "intrinsics are for images of twice the size",
    ),
    "swapped": (
        lambda scene: replace(
            scene,
            color_size=(320, 240),
            color_intrinsics=scene.depth_intrinsics,
            depth_intrinsics=scene.color_intrinsics * np.array([[1.4], [1.4], [1]]),
        ),
        "colour and depth intrinsics are swapped",
    ),
    "registered": (
        lambda scene: replace(
            scene, depth_intrinsics=scene.depth_intrinsics * np.array([[1.3, 1, 1], [1, 1.3, 1], [1, 1, 1]])
        ),
        "depth is registered to the colour camera",
    ),
}
CAMERAS = ("color_intrinsics", "depth_intrinsics")


def said(found: Check) -> str:
    assert not found.usable
    return found.faults[0]


@pytest.mark.parametrize("mistake", FILES)
def test_files_of_another_convention(tmp_path: Path, mistake: str) -> None:
    change, name = FILES[mistake]
    path, _ = posed_folder.write(change(room_walk()), tmp_path)
    assert f"m if {name}" in said(check(open_scene(path)))


@pytest.fixture(scope="module")
def walk_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return posed_folder.write(room_walk(), tmp_path_factory.mktemp("walk"))[0]


@pytest.mark.parametrize("mistake", READ)
def test_a_camera_or_unit_of_another_image(walk_folder: Path, mistake: str) -> None:
    change, name = READ[mistake]
    assert f"m if {name}" in said(check(change(open_scene(walk_folder))))


def test_the_right_convention_has_no_rival(walk_folder: Path) -> None:
    found = check(open_scene(walk_folder))
    assert found.usable and better(found.readings) is None
    assert found.overlap.error < 0.002  # the depth is exact, but for whole millimetres
    assert min(r.agreement.error for r in found.readings[1:] if r.agreement.error is not None) > TOO_FAR


def test_mixed_up_poses_fit_no_convention(tmp_path: Path) -> None:
    walk = room_walk()
    order = np.random.default_rng(0).permutation(len(walk.poses))
    path, _ = posed_folder.write(replace(walk, poses=walk.poses[order]), tmp_path)
    assert "no other reading is better" in said(check(open_scene(path)))


def test_a_camera_that_stands_still_fits_every_convention(tmp_path: Path) -> None:
    walk = room_walk()
    still = replace(walk, poses=np.repeat(walk.poses[:1], 12, axis=0), depth=np.repeat(walk.depth[:1], 12, axis=0))
    found = check(open_scene(posed_folder.write(still, tmp_path)[0]))
    assert found.usable and better(found.readings) is None


@pytest.mark.parametrize(("name", "most"), [("7scenes", 0.010), ("slambook2", 0.015)])
def test_real_captures_agree_to_millimetres(tmp_path: Path, name: str, most: float) -> None:
    folder = SHARED / "real" / name
    if not folder.is_dir():
        pytest.skip(f"no real capture at {folder}")
    found = check(import_scene(folder, tmp_path / "scene"))
    assert found.usable and found.warnings == found.scene.doubts and better(found.readings) is None
    assert 0.005 < found.overlap.error < most
