"""A plain folder of posed RGB-D frames, as 7-Scenes (Shotton et al., CVPR 2013) and many scanning scripts write it.

frame-NNNNNN.{color.jpg,color.png}   picture
frame-NNNNNN.depth.png               uint16 millimetres; 0 and 65535: unknown
frame-NNNNNN.pose.txt                4x4 camera to world, metres
camera-intrinsics.txt                3x3, for the depth image; without it, that of 7-Scenes (640x480)
gravity-direction.txt                optional: where "down" points in the poses' world (3 numbers)
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from llava.captures.gather import Listed, find_intrinsics, gather
from llava.geometry.camera import gravity_turn
from llava.types import Scene

NAME = "posed folder (7-Scenes)"
LAYOUT = "frame-NNNNNN.{color.jpg,depth.png,pose.txt}, camera-intrinsics.txt; optional: gravity-direction.txt"
PACKED = False
GRAVITY = "gravity-direction.txt"
FRAME_FILES = "frame-*.*"
UNKNOWN = (0, 65535)  # raw depth
USUAL = (585.0, 585.0, 320.0, 240.0)  # fx fy cx cy, which 7-Scenes has on its page and not beside the images


def fits(path: Path) -> bool:
    return any(path.glob(FRAME_FILES))


def read(path: Path, _scratch: Path) -> Scene:
    """Open such a folder.

    With ``gravity-direction.txt`` the world is turned upright by the smallest rotation (``Scene.align``
    holds it); without, the poses' own world is taken, of which nobody says that z is up.

    Raises:
        ValueError: no intrinsics, no usable frame, or a gravity direction that is none.
    """
    gravity = path / GRAVITY
    known = gravity.is_file()
    align = gravity_turn(_read_direction(gravity)) if known else np.eye(4)
    names = sorted({file.name.split(".")[0] for file in path.glob(FRAME_FILES)})
    gathered = gather([_listed(path, name) for name in names], align)
    depth_k, doubts = find_intrinsics(path, gathered.depth_size, USUAL)
    scene = gathered.registered(f"posed/{path.resolve().name}", depth_k, doubts)
    return replace(scene, depth_unknown=UNKNOWN, align=align, up=GRAVITY if known else None)


def _listed(folder: Path, name: str) -> Listed:
    png = folder / f"{name}.color.png"
    color = png if png.is_file() else folder / f"{name}.color.jpg"
    return Listed(name, color, folder / f"{name}.depth.png", folder / f"{name}.pose.txt")


def _read_direction(path: Path) -> np.ndarray:
    try:
        direction = np.array([float(word) for word in path.read_text(encoding="utf-8-sig").split()])
    except ValueError as error:
        raise ValueError(f"{path} holds no direction ({error}): expected 3 numbers") from error
    if direction.shape != (3,) or not np.isfinite(direction).all() or np.linalg.norm(direction) < 1e-6:
        raise ValueError(f"{path} holds {direction.tolist()}, expected 3 finite numbers that are not all zero")
    return direction
