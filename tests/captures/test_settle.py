"""Settling a capture: walls along the axes, floor at zero, middle at the origin, whatever it was before."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from llava.captures import open_scene
from llava.captures.pixels import load_depth
from llava.captures.settle import settle
from llava.geometry.camera import unproject
from llava.types import Frame, Scene

SHARED = Path(__file__).resolve().parents[2].parent / "shared"
K = np.array([[60.0, 0, 40], [0, 60, 30], [0, 0, 1]])
LOW, HIGH = np.array([-2.0, -1.5, 0]), np.array([2.0, 1.5, 2.5])


def look(yaw: float, pitch: float) -> np.ndarray:
    """A camera 1.5 m over the middle of the floor."""
    forward = np.array([np.cos(yaw) * np.cos(pitch), np.sin(yaw) * np.cos(pitch), -np.sin(pitch)])
    right = np.cross(forward, [0, 0, 1])
    right /= np.linalg.norm(right)
    pose = np.eye(4)
    pose[:3, :3] = np.stack([right, np.cross(forward, right), forward], axis=1)
    pose[2, 3] = 1.5
    return pose


def box_room(folder: Path, world: np.ndarray) -> Scene:
    """An empty 4 x 3 x 2.5 m room seen all around by eight cameras, its coordinates changed by ``world``."""
    Image.new("RGB", (80, 60), (90, 90, 90)).save(folder / "color.png")
    frames = []
    v, u = np.mgrid[:60, :80]
    for index in range(8):
        pose = look(index * np.pi / 4 + 0.1, 0.35)
        rays = np.stack([(u - 40) / 60, (v - 30) / 60, np.ones_like(u)], axis=-1) @ pose[:3, :3].T
        with np.errstate(divide="ignore"):
            walls = np.where(rays > 0, (HIGH - pose[:3, 3]) / rays, (LOW - pose[:3, 3]) / rays)
        path = folder / f"{index}.png"
        Image.fromarray(np.rint(walls.min(axis=-1) * 1000).astype(np.uint16)).save(path)
        frames.append(Frame(f"{index:05d}", folder / "color.png", path, world @ pose))
    return Scene("test/room", tuple(frames), (80, 60), (80, 60), K, K, align=world)


@pytest.mark.parametrize("degrees", [0.0, 17.0, -38.0, 44.0, 100.0])
def test_a_room_comes_back_to_its_axes(tmp_path: Path, degrees: float) -> None:
    turn = np.radians(degrees)
    world = np.eye(4)
    world[:2, :2] = [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]
    world[:3, 3] = (3.0, -7.0, 1.2)
    scene = settle(box_room(tmp_path, world))
    points = np.concatenate(
        [unproject(load_depth(scene, i), K, frame.pose).reshape(-1, 3) for i, frame in enumerate(scene.frames)]
    )
    low, high = np.percentile(points, (0.5, 99.5), axis=0)
    sides = sorted((high - low)[:2])
    np.testing.assert_allclose(sides, (3, 4), atol=0.08)
    np.testing.assert_allclose((low + high)[:2] / 2, 0, atol=0.05)
    assert low[2] == pytest.approx(0, abs=0.03)
    np.testing.assert_allclose(scene.align, scene.frames[0].pose @ np.linalg.inv(look(0.1, 0.35)), atol=1e-6)


def test_a_settled_room_stays_in_its_world(tmp_path: Path) -> None:
    """What `llava import` wrote and what `llava ask` answers in must be one world."""
    world = np.eye(4)
    world[:2, :2], world[:3, 3] = [[0.8, -0.6], [0.6, 0.8]], (1.0, 2.0, 3.0)
    scene = box_room(tmp_path, world)
    settled = settle(scene)
    assert settled is not scene and settle(settled) is settled


def test_nothing_to_settle_by(tmp_path: Path) -> None:
    scene = dataclasses.replace(box_room(tmp_path, np.eye(4)), depth_scale=np.inf)
    with pytest.raises(ValueError, match="no measured surface"):
        settle(scene)


def test_a_real_kitchen_has_its_floor_at_zero() -> None:
    folder = SHARED / "real" / "7scenes"
    if not folder.is_dir():
        pytest.skip(f"no real capture at {folder}")
    scene = settle(open_scene(folder))
    heights = [frame.pose[2, 3] for frame in scene.frames]
    assert 1.0 < min(heights) < max(heights) < 2.0  # held by a person
