"""A short walk through a room, known exactly: what every capture format is written from and compared with."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.spatial.transform import Rotation

from llava.geometry.camera import unproject
from llava.rooms.camera_path import camera_path
from llava.rooms.layout import make_room
from llava.rooms.render import intrinsics, render

FRAMES = 12
SIZE = (160, 120)  # (width, height)


@dataclass(frozen=True)
class Walk:
    """F frames of a room whose floor is at z = 0 and whose walls are along x and y."""

    color: np.ndarray  # (F, H, W, 3) uint8
    depth: np.ndarray  # (F, H, W) float32 metres along the optical axis, without noise; 0: nothing is hit
    poses: np.ndarray  # (F, 4, 4) camera to world, OpenCV axes, z up
    intrinsics: np.ndarray  # (3, 3), of colour and depth

    @property
    def size(self) -> tuple[int, int]:
        """(width, height)."""
        return self.depth.shape[2], self.depth.shape[1]

    def points(self, index: int) -> np.ndarray:
        """World points (H, W, 3) of a frame; without depth the camera's centre."""
        return unproject(self.depth[index], self.intrinsics, self.poses[index])

    def save_color(self, index: int, path: Path) -> None:
        """JPEG or PNG, by the name."""
        Image.fromarray(self.color[index]).save(path, quality=95)

    def save_depth(self, index: int, path: Path, units: float = 1000.0) -> None:
        """16-bit PNG (or PGM, by the name) with so many units a metre, 0 where unknown."""
        Image.fromarray(self.raw_depth(index, units)).save(path)

    def raw_depth(self, index: int, units: float = 1000.0) -> np.ndarray:
        """(H, W) uint16."""
        return np.rint(self.depth[index] * units).astype(np.uint16)


@cache
def room_walk() -> Walk:
    """The same walk for all tests of a session."""
    room = make_room(3, "walk")
    poses = camera_path(room, FRAMES, np.random.default_rng(0))
    seen = render(room, poses, SIZE)
    return Walk(seen.color, seen.depth, poses, intrinsics(SIZE))


def moved(axis_angle: tuple[float, float, float], shift: tuple[float, float, float]) -> np.ndarray:
    """A rigid motion (4, 4): a turn by ``axis_angle`` (degrees), then a shift (metres)."""
    motion = np.eye(4)
    motion[:3, :3] = Rotation.from_rotvec(axis_angle, degrees=True).as_matrix()
    motion[:3, 3] = shift
    return motion
