"""ARKitScenes (Baruch et al., NeurIPS 2021; https://github.com/apple/ARKitScenes, DATA.md): one scan's folder.

lowres_wide/<scan>_<seconds>.png                 pictures, 256x192
lowres_depth/<scan>_<seconds>.png                uint16 millimetres, 256x192
confidence/<scan>_<seconds>.png                  uint8, ARKit's confidence of each depth pixel; not in every download
lowres_wide_intrinsics/<scan>_<seconds>.pincam   width height fx fy cx cy
lowres_wide.traj                                 a pose a line: seconds, rotation vector, translation

The poses are world to camera (``tenFpsDataLoader.py`` inverts them), with OpenCV camera axes, in the world of the laser
scans, which is upright with z up (issues 78 and 81). They are fewer than the pictures, and times differ by a
millisecond between files: a pose takes the nearest of each kind.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from tqdm import tqdm

from llava.captures import arkit
from llava.captures.gather import Listed, check_intrinsics, gather, one_camera
from llava.captures.trajectories import nearest, read_numbers
from llava.geometry.camera import scale_intrinsics
from llava.types import Dropped, Scene

NAME = "ARKitScenes"
LAYOUT = "lowres_wide.traj, lowres_wide/, lowres_depth/, lowres_wide_intrinsics/*.pincam; optional: confidence/"
PACKED = True  # the depth is masked

TRAJECTORY = "lowres_wide.traj"
UP = "the laser scan's upright world"
PARTS = {"lowres_wide": ".png", "lowres_depth": ".png", "lowres_wide_intrinsics": ".pincam", "confidence": ".png"}
SAME_MOMENT = 0.005  # seconds, as in Apple's own loader; a third of the time between two pictures


def fits(path: Path) -> bool:
    return _root(path) is not None


def read(path: Path, scratch: Path) -> Scene:
    """Mask the depth that ARKit is not sure of, and leave the pictures where they are.

    Raises:
        ValueError: a file or folder is missing or damaged, or no frame is usable.
    """
    root = _root(path)
    if root is None:
        raise ValueError(f"{path} holds no {TRAJECTORY}: it is no scan of ARKitScenes")
    moments, poses = _trajectory(root / TRAJECTORY)
    masked = (root / "confidence").is_dir()
    parts = {name: _at(moments, root / name, end) for name, end in PARTS.items() if masked or name != "confidence"}
    listed, found, faulty = [], [], []
    for index in tqdm(range(len(moments)), "masking depth", leave=False, disable=None):
        name = f"{moments[index]:.3f}"
        files = {part: paths[index] for part, paths in parts.items()}
        depth = scratch / f"{name}.png"
        try:
            camera = _masked(files, depth)
        except ValueError as error:
            faulty.append(Dropped(name, str(error)))
            continue
        listed.append(Listed(name, files["lowres_wide"], depth, poses[index]))
        found.append(camera)
    if not listed:
        raise ValueError(f"{root} has no usable frame of {len(faulty)} ({faulty[0].name}: {faulty[0].reason})")
    sizes = [size for size, _ in found]
    size = max(set(sizes), key=sizes.count)
    k, listed, others, refocused = one_camera(listed, [camera for _, camera in found], size)
    gathered = gather(listed, np.eye(4), (*faulty, *others))
    k = check_intrinsics(k, size, root / "lowres_wide_intrinsics")
    return Scene(
        name=f"arkitscenes/{path.resolve().name}",
        frames=gathered.frames,
        color_size=gathered.color_size,
        depth_size=gathered.depth_size,
        color_intrinsics=scale_intrinsics(k, size, gathered.color_size),
        depth_intrinsics=scale_intrinsics(k, size, gathered.depth_size),
        up=UP,
        dropped=gathered.dropped,
        doubts=(*(() if masked else (arkit.NOT_MASKED,)), *refocused),
    )


def _root(path: Path) -> Path | None:
    """Where a scan's files lie: in its folder, or, in the object detection set, in <scan>_frames in it."""
    name = Path(os.path.realpath(path)).name  # `resolve` raises where links go in circles
    roots = (path, path / f"{name}_frames")
    return next((root for root in roots if (root / TRAJECTORY).is_file()), None)


def _trajectory(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Seconds (n,) and camera to world (n, 4, 4) of each line; a pose may be NaN. ValueError: something else."""
    from scipy.spatial.transform import Rotation

    rows = read_numbers(path, "seconds rx ry rz tx ty tz")
    if not np.isfinite(rows[:, 0]).any():
        raise ValueError(f"{path} has no pose: download the scan again")
    rows = rows[np.isfinite(rows[:, 0])]
    rows = rows[np.unique(np.rint(rows[:, 0] * 1000), return_index=True)[1]]  # frames are named by milliseconds
    poses = np.full((len(rows), 4, 4), np.nan)
    finite = np.isfinite(rows).all(axis=1)
    if finite.any():
        to_camera = np.tile(np.eye(4), (finite.sum(), 1, 1))
        to_camera[:, :3, :3] = Rotation.from_rotvec(rows[finite, 1:4]).as_matrix()
        to_camera[:, :3, 3] = rows[finite, 4:]
        poses[finite] = np.linalg.inv(to_camera)
    return rows[:, 0], poses


def _at(moments: np.ndarray, folder: Path, end: str) -> list[Path | None]:
    """The file of each moment (n,), by the seconds in the files' names; None where there is none."""
    found = {}
    for path in folder.glob(f"[!.]*{end}"):
        try:
            found[float(path.stem.rpartition("_")[2])] = path
        except ValueError:
            continue  # no picture of the scan
    if not found:
        return [None] * len(moments)
    seconds, paths = np.array(list(found)), list(found.values())
    indices = nearest(seconds, moments)
    near = np.abs(seconds[indices] - moments) <= SAME_MOMENT
    return [paths[index] if here else None for index, here in zip(indices, near, strict=True)]


def _masked(files: dict[str, Path | None], out: Path) -> tuple[tuple[int, int], np.ndarray]:
    """Write a frame's depth, masked, to ``out``, and return its camera's size and intrinsics (3, 3).

    ValueError: a file is missing or damaged.
    """
    missing = [part for part, file in files.items() if file is None]
    if missing:
        raise ValueError(f"{missing[0]}/ has no file within {SAME_MOMENT * 1000:.0f} ms of this pose")
    sure = arkit.read_grey(files["confidence"]) if "confidence" in files else None
    arkit.write_depth(out, arkit.read_grey(files["lowres_depth"]), sure)
    return _pincam(files["lowres_wide_intrinsics"])


def _pincam(path: Path) -> tuple[tuple[int, int], np.ndarray]:
    """Size (width, height) and intrinsics (3, 3). ValueError: the file holds something else."""
    try:
        width, height, fx, fy, cx, cy = (float(word) for word in path.read_text().split())
        return (int(width), int(height)), np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]])
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{path.name} is not: width height fx fy cx cy") from error
