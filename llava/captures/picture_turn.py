"""Pictures that lie on their side are turned upright.

A phone held upright records its sensor's pictures as they are, on their side; models have learned from upright ones.
"""

from __future__ import annotations

import os
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from llava.captures.pixels import load_color, save_depth
from llava.types import Frame, Scene

LEAST = 0.5  # of gravity's length in the picture: a camera that looks more up or down has no upright side
CLOCKWISE = {
    1: Image.Transpose.ROTATE_270,  # Pillow turns the other way round
    2: Image.Transpose.ROTATE_180,
    3: Image.Transpose.ROTATE_90,
}


def pictures_upright(scene: Scene, scratch: Path) -> Scene:
    """The same scene with all images turned by the quarter turns that set most of them upright.

    Poses and intrinsics turn along, so that every point stays where it is in the world. A scene of which nobody knows
    where up is, and one whose pictures stand upright, is left alone.

    Args:
        scene: whose images can all be decoded.
        scratch: a folder for the turned images, and for nothing else of the names ``turned-*``.
    """
    quarters = 0 if scene.up is None else _quarters(scene)
    if quarters == 0:
        return scene

    def turned(index: int) -> Frame:
        frame = scene.frames[index]
        color, depth = scratch / f"turned-{frame.name}.jpg", scratch / f"turned-{frame.name}.png"
        load_color(scene, index).transpose(CLOCKWISE[quarters]).save(color, quality=95)
        with Image.open(frame.depth) as image:
            save_depth(np.asarray(image.transpose(CLOCKWISE[quarters])), depth)
        return replace(frame, color=color, depth=depth, pose=frame.pose @ _camera_turn(quarters))

    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        indices = range(len(scene.frames))
        frames = tuple(tqdm(pool.map(turned, indices), "turning", len(indices), leave=False, disable=None))
    cameras = {}
    for kind, size, k in (
        ("color", scene.color_size, scene.color_intrinsics),
        ("depth", scene.depth_size, scene.depth_intrinsics),
    ):
        for _ in range(quarters):
            size, k = _quarter(size, k)
        cameras |= {f"{kind}_size": size, f"{kind}_intrinsics": k}
    return replace(scene, frames=frames, **cameras)


def _quarters(scene: Scene) -> int:
    """Quarter turns clockwise that set most pictures upright."""
    down = np.stack([-frame.pose[2, :2] for frame in scene.frames])  # of the world, along the picture's x and y
    seen = down[np.linalg.norm(down, axis=1) > LEAST]
    if len(seen) == 0:
        return 0
    turns = np.rint(np.arctan2(seen[:, 0], seen[:, 1]) / (np.pi / 2)).astype(int) % 4
    return Counter(turns.tolist()).most_common(1)[0][0]


def _camera_turn(quarters: int) -> np.ndarray:
    """The (4, 4) turned camera -> the camera, after quarter turns clockwise of its picture."""
    quarter = np.array([[0.0, 1, 0, 0], [-1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    return np.linalg.matrix_power(quarter, quarters)


def _quarter(size: tuple[int, int], k: np.ndarray) -> tuple[tuple[int, int], np.ndarray]:
    """Size (width, height) and intrinsics (3, 3) after a quarter turn clockwise."""
    (fx, fy), (cx, cy) = (k[0, 0], k[1, 1]), (k[0, 2], k[1, 2])
    return size[::-1], np.array([[fy, 0, size[1] - 1 - cy], [0, fx, cx], [0, 0, 1]])
