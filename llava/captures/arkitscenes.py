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

from pathlib import Path

import numpy as np
from tqdm import tqdm

from llava.captures import arkit
from llava.captures.gather import Listed, check_intrinsics, gather
from llava.geometry.camera import invert_pose, is_finite_pose, scale_intrinsics
from llava.types import Dropped, Scene

NAME = "ARKitScenes"
LAYOUT = "lowres_wide.traj, lowres_wide/, lowres_depth/, lowres_wide_intrinsics/*.pincam; optional: confidence/"
PACKED = True  # the depth is masked

TRAJECTORY = "lowres_wide.traj"
UP = "the laser scan's upright world"
SAME_MOMENT = 0.005  # seconds, as in Apple's own loader; a third of the time between two pictures


class _Timed:
    """The files of a folder by the seconds in their names."""

    def __init__(self, folder: Path, suffix: str):
        self.folder = folder
        found = {}
        for path in folder.glob(f"*{suffix}"):
            try:
                found[float(path.stem.rpartition("_")[2])] = path
            except ValueError:
                continue  # "._frame.png" and the like, which copying leaves behind
        self.seconds = np.array(sorted(found))
        self.paths = [found[seconds] for seconds in self.seconds]

    def at(self, seconds: float) -> Path:
        """The file of this moment; ValueError: there is none."""
        right = int(np.searchsorted(self.seconds, seconds))
        near = [index for index in (right - 1, right) if 0 <= index < len(self.paths)]
        best = min(near, key=lambda index: abs(self.seconds[index] - seconds), default=None)
        if best is None or abs(self.seconds[best] - seconds) > SAME_MOMENT:
            raise ValueError(f"{self.folder.name}/ has no file within {SAME_MOMENT * 1000:.0f} ms of this pose")
        return self.paths[best]


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
    masked = (root / "confidence").is_dir()
    colors, depths = _Timed(root / "lowres_wide", ".png"), _Timed(root / "lowres_depth", ".png")
    cameras, sures = _Timed(root / "lowres_wide_intrinsics", ".pincam"), _Timed(root / "confidence", ".png")
    listed, found, faulty = [], [], []
    for seconds, pose in tqdm(_trajectory(root / TRAJECTORY), "masking depth", leave=False, disable=None):
        name = f"{seconds:.3f}"
        try:
            color, camera, depth = colors.at(seconds), _pincam(cameras.at(seconds)), depths.at(seconds)
            sure = arkit.read_grey(sures.at(seconds)) if masked else None
            arkit.write_depth(scratch / f"{name}.png", arkit.read_grey(depth), sure)
        except ValueError as error:
            faulty.append(Dropped(name, str(error)))
            continue
        listed.append(Listed(name, color, scratch / f"{name}.png", pose))
        found.append(camera)
    if not listed:
        raise ValueError(f"{root} has no usable frame of {len(faulty)} ({faulty[0].name}: {faulty[0].reason})")
    sizes = [size for size, _ in found]
    size = max(set(sizes), key=sizes.count)
    k, listed, others, refocused = arkit.one_camera(listed, [camera for _, camera in found], size)
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
    return next((root for root in (path, path / f"{path.name}_frames") if (root / TRAJECTORY).is_file()), None)


def _trajectory(path: Path) -> list[tuple[float, np.ndarray]]:
    """Seconds and camera to world (4, 4) of each line; a pose may be NaN. ValueError: no line is one."""
    from scipy.spatial.transform import Rotation

    poses = []
    for line in path.read_text(errors="replace").splitlines():
        try:
            seconds, *numbers = (float(word) for word in line.split())
        except ValueError:
            continue
        if len(numbers) != 6 or not np.isfinite(seconds):
            continue
        pose = np.full((4, 4), np.nan)
        if np.isfinite(numbers).all():
            pose[:] = np.eye(4)
            pose[:3, :3], pose[:3, 3] = Rotation.from_rotvec(numbers[:3]).as_matrix(), numbers[3:]
        poses.append((seconds, invert_pose(pose) if is_finite_pose(pose) else pose))
    if not poses:
        raise ValueError(f"{path} has no pose: expected lines of 7 numbers, the time, a rotation and a translation")
    return poses


def _pincam(path: Path) -> tuple[tuple[int, int], np.ndarray]:
    """Size (width, height) and intrinsics (3, 3). ValueError: the file holds something else."""
    try:
        width, height, fx, fy, cx, cy = (float(word) for word in path.read_text().split())
        return (int(width), int(height)), np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]])
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{path.name} is not: width height fx fy cx cy") from error
