"""Stray Scanner's recordings of an iPhone or iPad with LiDAR (https://github.com/strayrobots/scanner, docs/format.md).

rgb.mp4                video, one picture a row of odometry.csv
depth/NNNNNN.png       uint16 millimetres, 256x192
confidence/NNNNNN.png  uint8, ARKit's confidence of each depth pixel
odometry.csv           timestamp, frame, x, y, z, qx, qy, qz, qw: camera to world, metres, OpenCV camera axes
camera_matrix.csv      3x3 intrinsics of the video

The app turns ARKit's camera by half a turn about its x axis before it writes the rotation (``OdometryEncoder.swift``:
``q_WA * q_AC``), so that the camera looks along +z with y down, while its world stays ARKit's: upright, y up. Depth
and video see the same field.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from llava.captures import arkit
from llava.captures.gather import Listed, check_intrinsics, gather
from llava.captures.sens import usual_step
from llava.captures.trajectories import quaternion_poses
from llava.geometry.camera import scale_intrinsics
from llava.types import Dropped, Scene

NAME = "Stray Scanner"
LAYOUT = "rgb.mp4, odometry.csv, camera_matrix.csv, depth/NNNNNN.png; optional: confidence/NNNNNN.png"
PACKED = True

POSE_COLUMNS = ("x", "y", "z", "qx", "qy", "qz", "qw")
LONGEST_SIDE = 960  # pixels of a picture that is kept; the models read 384, and a video has thousands
UNEQUAL = 0.02  # of the frames: a recording that ends in the middle of one lacks a few at its end


def fits(path: Path) -> bool:
    return (path / "rgb.mp4").is_file() and (path / "odometry.csv").is_file()


def read(path: Path, scratch: Path) -> Scene:
    """Unpack the recording: every frame, or every 10th of a long one. Depth that ARKit is not sure of is left out.

    Raises:
        ValueError: a file is missing or damaged, video and odometry differ in length, or no frame is usable.
    """
    names, poses = _odometry(path / "odometry.csv")
    camera = _camera_matrix(path / "camera_matrix.csv")
    masked = (path / "confidence").is_dir()
    listed, faulty = [], []
    video_size = (0, 0)
    for index, picture in _pictures(path / "rgb.mp4", len(poses)):
        name = names[index]
        color, depth = scratch / f"{name}.jpg", scratch / f"{name}.png"
        try:
            sure = arkit.read_grey(path / "confidence" / f"{name}.png") if masked else None
            arkit.write_depth(depth, arkit.read_grey(path / "depth" / f"{name}.png"), sure)
        except ValueError as error:
            faulty.append(Dropped(name, str(error)))
            continue
        image = Image.fromarray(picture)
        video_size = image.size
        image.thumbnail((LONGEST_SIDE, LONGEST_SIDE), Image.Resampling.BICUBIC)
        image.save(color, quality=90)
        listed.append(Listed(name, color, depth, poses[index]))
    gathered = gather(listed, arkit.Z_UP, faulty)
    camera = check_intrinsics(camera, video_size, path / "camera_matrix.csv")
    return Scene(
        name=f"stray/{path.resolve().name}",
        frames=gathered.frames,
        color_size=gathered.color_size,
        depth_size=gathered.depth_size,
        color_intrinsics=scale_intrinsics(camera, video_size, gathered.color_size),
        depth_intrinsics=scale_intrinsics(camera, video_size, gathered.depth_size),
        align=arkit.Z_UP,
        up=arkit.UP,
        dropped=gathered.dropped,
        doubts=() if masked else (arkit.NOT_MASKED,),
    )


def _odometry(path: Path) -> tuple[list[str], np.ndarray]:
    """Of each row the frame number as in the names of files, and the pose (n, 4, 4), which may be NaN.

    ValueError: no row, a column is missing, or a frame number is none.
    """
    columns = ("frame", *POSE_COLUMNS)
    try:
        with path.open(newline="", encoding="utf-8-sig") as lines:
            table = csv.DictReader(lines, skipinitialspace=True)
            table.fieldnames = [column.strip() for column in table.fieldnames or ()]
            missing = [column for column in columns if column not in table.fieldnames]
            rows = [] if missing else [(f"{int(row['frame']):06d}", _seven(row)) for row in table]
    except (csv.Error, TypeError, ValueError) as error:
        raise ValueError(f"{path} is no table of poses ({error}): export the recording again") from error
    if missing:
        raise ValueError(f"{path} has no column {missing[0]!r}, expected timestamp, {', '.join(columns)}")
    if not rows:
        raise ValueError(f"{path} has no pose: export the recording again")
    names = [name for name, _ in rows]
    if len(set(names)) < len(names):
        raise ValueError(f"{path} has several poses for one frame: export the recording again")
    return names, quaternion_poses(np.array([numbers for _, numbers in rows]), path)


def _seven(row: dict[str, str | None]) -> list[float]:
    try:
        return [float(row[column] or "nan") for column in POSE_COLUMNS]
    except ValueError:
        return [np.nan] * len(POSE_COLUMNS)


def _camera_matrix(path: Path) -> np.ndarray:
    """Intrinsics (3, 3). ValueError: the file is missing or holds something else."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
        camera = np.array([[float(word) for word in line.split(",")] for line in lines if line])
    except FileNotFoundError as error:
        raise ValueError(f"{path} is missing: it holds the camera's intrinsics (3x3 numbers)") from error
    except ValueError as error:
        raise ValueError(f"{path} holds no matrix ({error}): export the recording again") from error
    if camera.shape != (3, 3):
        raise ValueError(f"{path} has shape {camera.shape}, expected 3x3")
    return camera


def _pictures(path: Path, poses: int) -> Iterator[tuple[int, np.ndarray]]:
    """Index and pixels (H, W, 3) uint8 of the video's pictures that have a pose, or of every 10th of a long one.

    ValueError: the video cannot be decoded, or has another number of pictures than there are poses, so that nobody
    can tell which belong together.
    """
    try:
        import decord
    except ImportError as error:
        raise ValueError(
            f"{path} cannot be decoded here: pip install decord, or eva-decord where that has no package"
        ) from error
    decord.logging.set_level(decord.logging.QUIET)
    try:
        video = decord.VideoReader(str(path))
        if abs(len(video) - poses) > max(1, UNEQUAL * poses):
            raise ValueError(
                f"{path} has {len(video)} pictures but odometry.csv {poses} poses: which belong together is unknown; "
                "export the recording again"
            )
        count = min(len(video), poses)
        for index in tqdm(range(0, count, usual_step(count)), "unpacking", leave=False, disable=None):
            yield index, video[index].asnumpy()
    except (RuntimeError, decord.DECORDError) as error:
        raise ValueError(f"{path} cannot be decoded: copy the recording again") from error
