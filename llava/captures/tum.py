"""TUM RGB-D (Sturm et al., IROS 2012): lists of time-stamped images and of poses, each with a clock of its own.

rgb.txt, depth.txt   timestamp filename; depth is 16-bit PNG, 5000 units a metre, 0 = unknown, registered to the colour
groundtruth.txt      timestamp tx ty tz qx qy qz qw, camera to world
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from llava.captures.gather import Listed, find_intrinsics, gather
from llava.captures.trajectories import nearest, quaternion_poses, read_numbers, read_table
from llava.types import Dropped, Scene

NAME = "TUM RGB-D"
LAYOUT = "rgb.txt, depth.txt, groundtruth.txt; optional: camera-intrinsics.txt"
PACKED = False

POSES = "groundtruth.txt"
POSE_COLUMNS = "timestamp tx ty tz qx qy qz qw"
UNITS = 5000.0  # a metre
MOST_APART = 0.02  # seconds between a picture, its depth and its pose; the benchmark's own tools allow as much
# fx fy cx cy of the colour cameras, calibrated by the benchmark; lens distortion, up to some pixels, is not undone.
CALIBRATED = {
    "freiburg1": (517.3, 516.5, 318.6, 255.3),
    "freiburg2": (520.9, 521.0, 325.1, 249.7),
    "freiburg3": (535.4, 539.2, 320.1, 247.6),
}
USUAL = (525.0, 525.0, 319.5, 239.5)  # the benchmark's values for any Kinect
MOCAP = "the motion capture's frame"
HELD_UPRIGHT = -0.5  # mean z of the cameras' downward axes below which the world is believed to be z up


@dataclass(frozen=True)
class Stamped:
    """Images and when they were taken, in order."""

    times: np.ndarray  # (n,) seconds
    files: tuple[Path, ...]


def fits(path: Path) -> bool:
    return (path / "rgb.txt").is_file() and (path / "depth.txt").is_file()


def read(path: Path, _scratch: Path) -> Scene:
    """Open such a folder: each picture with the depth nearest in time, and the pose nearest to that.

    The benchmark's world is z up; one that SLAM has made, written in the same files, is not, which shows by cameras
    that lie on their sides in it.

    Raises:
        ValueError: a list is missing or no list, no usable frame, or intrinsics are missing or do not fit.
    """
    color, depth = _read_stamped(path / "rgb.txt"), _read_stamped(path / "depth.txt")
    numbers = read_numbers(path / POSES, POSE_COLUMNS)
    if len(numbers) == 0:
        raise ValueError(f"{path / POSES} holds no pose: expected lines of {POSE_COLUMNS!r}")
    poses = quaternion_poses(numbers[:, 1:], path / POSES)
    of_depth = nearest(depth.times, color.times)
    of_pose = nearest(numbers[:, 0], depth.times[of_depth])
    listed, lonely = [], []
    for at, file in enumerate(color.files):
        image, pose = of_depth[at], of_pose[at]
        apart = {
            "depth image": abs(depth.times[image] - color.times[at]),
            "pose": abs(numbers[pose, 0] - depth.times[image]),
        }
        far = next((what for what, gap in apart.items() if not gap <= MOST_APART), None)
        if far is None:
            listed.append(Listed(file.stem, file, depth.files[image], poses[pose]))
        else:
            reason = f"no {far} within {MOST_APART:g} s, the nearest is {apart[far]:.3g} s away"
            lonely.append(Dropped(file.stem, reason))
    gathered = gather(listed, np.eye(4), lonely)
    usual = next((k for name, k in CALIBRATED.items() if name in path.resolve().name), None)
    depth_k, doubts = find_intrinsics(path, gathered.depth_size, usual or USUAL, certain=usual is not None)
    tilts = [frame.pose[2, 1] for frame in gathered.frames]
    scene = gathered.registered(f"tum/{path.resolve().name}", depth_k, doubts)
    return replace(scene, depth_scale=UNITS, up=MOCAP if np.mean(tilts) < HELD_UPRIGHT else None)


def _read_stamped(path: Path) -> Stamped:
    rows = read_table(path, "timestamp filename")
    if not rows:
        raise ValueError(f"{path} lists no image: expected lines of 'timestamp filename'")
    try:
        times = np.array([float(time) for time, _ in rows])
    except ValueError as error:
        raise ValueError(f"{path}: {error}; expected lines of 'timestamp filename'") from error
    order = np.argsort(times, kind="stable")  # what several threads write is not always in order
    return Stamped(times[order], tuple(path.parent / rows[at][1] for at in order))
