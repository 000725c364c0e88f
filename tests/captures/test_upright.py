"""Which way is up: found by the floor where it is clear, told with --up, and left in doubt where it is not."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.spatial.transform import Rotation

from llava.captures import NO_GRAVITY, open_scene
from llava.captures.upright import SURE, find_floor, upright
from llava.geometry.camera import invert_pose
from llava.types import Frame, Scene

SHARED = Path(__file__).resolve().parents[2].parent / "shared"
K = np.array([[60.0, 0, 40], [0, 60, 30], [0, 0, 1]])
LOW, HIGH = np.array([-2.0, -1.5, 0]), np.array([2.0, 1.5, 2.5])  # a room without furniture


def look(yaw: float, pitch: float, roll: float = 0.0, at: tuple = (0.0, 0.0, 1.5)) -> np.ndarray:
    """A camera at ``at``; degrees: yaw about z, pitch below the horizon, roll about the line of sight."""
    level = np.array([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]])  # camera axes in the world for a look along x
    turn = Rotation.from_euler("ZY", [yaw, pitch], degrees=True).as_matrix()
    pose = np.eye(4)
    pose[:3, :3] = turn @ level @ Rotation.from_euler("z", roll, degrees=True).as_matrix()
    pose[:3, 3] = at
    return pose


def film(folder: Path, poses: list[np.ndarray], keep=lambda points: np.ones(points.shape[:2], bool)) -> Scene:
    """What cameras in the empty room measure, where ``keep`` of the points (H, W, 3) is True."""
    Image.new("RGB", (80, 60), (90, 90, 90)).save(folder / "color.png")
    v, u = np.mgrid[:60, :80]
    frames = []
    for index, pose in enumerate(poses):
        rays = np.stack([(u - 40) / 60, (v - 30) / 60, np.ones_like(u)], axis=-1) @ pose[:3, :3].T
        rays = np.where(np.abs(rays) < 1e-9, 1e-9, rays)
        depth = np.where(rays > 0, (HIGH - pose[:3, 3]) / rays, (LOW - pose[:3, 3]) / rays).min(axis=-1)
        depth[~keep(pose[:3, 3] + rays * depth[..., None])] = 0
        path = folder / f"{index}.png"
        Image.fromarray(np.rint(depth * 1000).astype(np.uint16)).save(path)
        frames.append(Frame(f"{index:05d}", folder / "color.png", path, pose))
    return Scene("test/room", tuple(frames), (80, 60), (80, 60), K, K)


def around(pitch: float = 20.0, roll: float = 0.0) -> list[np.ndarray]:
    return [look(yaw, pitch, roll) for yaw in range(0, 360, 40)]


def in_world(scene: Scene, world: np.ndarray) -> Scene:
    """The same capture with its coordinates changed by ``world``."""
    return dataclasses.replace(
        scene, frames=tuple(dataclasses.replace(frame, pose=world @ frame.pose) for frame in scene.frames)
    )


def tilt(direction: np.ndarray, up: np.ndarray) -> float:
    """Degrees between two unit vectors."""
    return float(np.degrees(np.arccos(np.clip(direction @ up, -1, 1))))


@pytest.fixture
def any_world(request: pytest.FixtureRequest) -> np.ndarray:
    world = np.eye(4)
    world[:3, :3] = Rotation.random(random_state=request.param).as_matrix()
    world[:3, 3] = (3.0, -7.0, 1.2)
    return world


@pytest.mark.parametrize("any_world", range(3), indirect=True)
@pytest.mark.parametrize(("pitch", "roll"), [(12, 0), (20, 25), (45, -15)])
def test_a_turned_room_comes_back_upright(tmp_path: Path, any_world: np.ndarray, pitch: float, roll: float) -> None:
    scene = in_world(film(tmp_path, around(pitch, roll)), any_world)
    scene = dataclasses.replace(scene, doubts=(NO_GRAVITY, "something else"))
    found = upright(scene)
    assert tilt((found.frames[0].pose @ invert_pose(look(0, pitch, roll)))[:3, 2], np.array([0, 0, 1])) < 1
    assert found.up is not None and found.up.startswith("the floor, confidence 0.")
    assert found.doubts == ("something else",)
    for before, after in zip(scene.frames, found.frames, strict=True):  # and it can be undone
        np.testing.assert_allclose(invert_pose(found.align) @ after.pose, before.pose, atol=1e-9)


def table(points: np.ndarray) -> np.ndarray:
    """1.2 x 0.7 m of the plane at z = 0."""
    return (np.abs(points[..., 0]) < 0.6) & (np.abs(points[..., 1]) < 0.35) & (points[..., 2] < 0.01)


HARD = {
    "only a table top": ([look(yaw, 35, at=(-0.6, 0.1 * yaw / 30, 0.5)) for yaw in range(-30, 40, 10)], table),
    "a wall, straight on": ([look(yaw, 0, at=(0.5, 0, 1.3)) for yaw in range(-10, 11, 5)], None),
    "a wall, looked up at": ([look(yaw, -30) for yaw in range(-10, 11, 5)], lambda p: p[..., 2] > 0.5),
    "the ceiling": (around(-40), None),
    "cameras on their side": (around(10, 90), None),
    "cameras upside down": (around(20, 180), None),
    "a few points": (around(), lambda p: np.linalg.norm(p - (1.7, 0, 0), axis=-1) < 0.35),
    "no points": (around(), lambda p: np.zeros(p.shape[:2], bool)),
}


@pytest.mark.parametrize("case", HARD)
def test_what_shows_no_floor_stays_in_doubt(tmp_path: Path, case: str) -> None:
    poses, keep = HARD[case]
    scene = film(tmp_path, poses, keep) if keep else film(tmp_path, poses)
    found = upright(dataclasses.replace(scene, doubts=(NO_GRAVITY,)))
    assert found.up is None and found.frames == scene.frames
    (doubt,) = found.doubts
    assert "no floor shows it clearly" in doubt and "--up X Y Z" in doubt
    assert upright(found).doubts == found.doubts  # said once


def test_a_doubtful_floor_is_offered_in_the_captures_own_world(tmp_path: Path) -> None:
    poses, keep = HARD["only a table top"]
    scene = film(tmp_path, poses, keep)
    turn = np.eye(4)
    turn[:3, :3] = Rotation.from_euler("x", 90, degrees=True).as_matrix()
    doubt = upright(dataclasses.replace(in_world(scene, turn), align=turn)).doubts[0]
    assert 0 < float(doubt.split("confidence ")[1].split(",")[0]) < SURE
    offered = [float(word) for word in doubt.split("--up ")[-1].rstrip(")").split()]
    np.testing.assert_allclose(offered, (0, 0, 1), atol=0.02)


def test_up_can_be_told(tmp_path: Path) -> None:
    scene = in_world(film(tmp_path, around()), np.diag([1.0, -1, -1, 1]))  # z down
    found = upright(dataclasses.replace(scene, doubts=(NO_GRAVITY,)), up=(0, 0, -2))
    assert (found.up, found.doubts) == ("--up", ())
    assert all(frame.pose[2, 3] == pytest.approx(1.5) for frame in found.frames)
    # In the capture's own world, whatever a reader made of it.
    known = dataclasses.replace(in_world(scene, found.align), align=found.align, up="gravity")
    again = upright(known, up=(0, 0, -1))
    assert again.up == "--up"
    np.testing.assert_allclose(again.frames[0].pose, found.frames[0].pose, atol=1e-9)
    assert upright(known) is known


@pytest.mark.parametrize("up", [(0, 0, 0), (0, 1), (0, np.nan, 1), (np.inf, 0, 0)])
def test_up_must_be_a_direction(tmp_path: Path, up: tuple) -> None:
    with pytest.raises(ValueError, match="--up: expected 3 finite numbers"):
        upright(film(tmp_path, [look(0, 0)]), up=up)


def test_a_real_floor_agrees_with_gravity(tmp_path: Path) -> None:
    folder = SHARED / "real" / "7scenes"
    if not folder.is_dir():
        pytest.skip(f"no real capture at {folder}")
    for path in folder.iterdir():
        if path.name != "gravity-direction.txt":
            (tmp_path / path.name).symlink_to(path)
    told, found = open_scene(folder), upright(open_scene(tmp_path))
    assert found.up is not None and float(found.up.split()[-1]) > 0.8
    # Its floor, table and walls agree with each other to 0.2 degrees, and with the file to 1.8.
    assert tilt(found.align[2, :3], told.align[2, :3]) < 2.5
    floor = find_floor(told)
    assert floor is not None and 1.0 < np.median([frame.pose[2, 3] for frame in told.frames]) - floor.height < 2.0
