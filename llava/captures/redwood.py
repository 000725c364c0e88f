"""Open3D's and Redwood's folders (Choi, Zhou and Koltun, CVPR 2015): numbered images and a trajectory beside them.

color/ (or image/, rgb/)   pictures
depth/                     uint16 millimetres, 0 = unknown, registered to the colour
trajectory.log             for each frame a line of three numbers, the first counts frames, then 4x4 camera to world
*.json                     optional: Open3D's camera (width, height, intrinsic_matrix by columns)
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from llava.captures.folders import first_folder, pairs
from llava.captures.gather import INTRINSICS, Listed, check_intrinsics, find_intrinsics, gather
from llava.geometry.camera import scale_intrinsics
from llava.types import Dropped, Scene

NAME = "Open3D / Redwood"
LAYOUT = "color/ (or image/, rgb/), depth/, trajectory.log; optional: an Open3D camera as .json"
PACKED = False

COLOR = ("color", "image", "rgb")
TRAJECTORIES = ("trajectory.log", "scene/trajectory.log")  # the second: where Open3D's reconstruction leaves it
PRIMESENSE = (525.0, 525.0, 319.5, 239.5)  # fx fy cx cy, Open3D's PrimeSenseDefault
BLOCK = 5  # lines


def fits(path: Path) -> bool:
    named = any((path / name).is_file() for name in TRAJECTORIES)  # any other .log may be some program's
    return (path / "depth").is_dir() and (named or (any(path.glob("*.log")) and first_folder(path, COLOR) is not None))


def read(path: Path, _scratch: Path) -> Scene:
    """Open such a folder. The world is the one of the trajectory, mostly the first camera's: nobody says what is up.

    Raises:
        ValueError: no trajectory or no images, numbers of poses and images that do not go together, no usable
            frame, or intrinsics that do not fit the images.
    """
    color = first_folder(path, COLOR)
    if color is None:
        raise ValueError(f"{path} has no folder of pictures: expected one of {', '.join(COLOR)}")
    files = pairs(color, path / "depth")
    log = _trajectory(path)
    numbers, poses = read_log(log)
    pose_of = _assigned(numbers, len(files), log)
    listed, lost = [], []
    for at, (name, picture, depth) in enumerate(files):
        if at in pose_of:
            listed.append(Listed(name, picture, depth, poses[pose_of[at]]))
        else:
            lost.append(Dropped(name, f"{log.name} has no pose for it"))
    gathered = gather(listed, np.eye(4), lost)
    depth_k, doubts = _intrinsics(path, gathered.depth_size)
    return gathered.registered(f"redwood/{path.resolve().name}", depth_k, doubts)


def read_log(path: Path) -> tuple[list[int], np.ndarray]:
    """Frame numbers and poses (n, 4, 4), NaN where one is none. ValueError: it is no ``.log`` of poses."""
    expected = "expected for each frame a line of three numbers, then four lines of four"
    try:
        rows = [line.split() for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
        heads = [int(row[0]) for row in rows[::BLOCK]]
        numbers = [[float(word) for word in row] for at, row in enumerate(rows) if at % BLOCK]
    except ValueError as error:
        raise ValueError(f"{path} is no trajectory ({error}): {expected}") from error
    wrong = next((row for row in numbers if len(row) != 4), None)
    if not rows or len(rows) % BLOCK or wrong:
        found = f"a line of {len(wrong)} numbers in a pose" if wrong else f"{len(rows)} lines"
        raise ValueError(f"{path} is no trajectory, or is cut short ({found}): {expected}")
    return heads, np.array(numbers).reshape(-1, 4, 4)


def _assigned(numbers: list[int], images: int, log: Path) -> dict[int, int]:
    """{index of an image: index of its pose}: by frame numbers, where these count images, else in order."""
    if len(set(numbers)) == len(numbers) and min(numbers) >= 0 and max(numbers) < images:
        return {number: at for at, number in enumerate(numbers)}
    if len(numbers) == images:
        return {at: at for at in range(images)}
    raise ValueError(
        f"{log} has {len(numbers)} poses with the frame numbers {min(numbers)} to {max(numbers)}, but there are "
        f"{images} images: expected one pose an image, or numbers that say which"
    )


def _intrinsics(path: Path, size: tuple[int, int]) -> tuple[np.ndarray, tuple[str, ...]]:
    if not (path / INTRINSICS).is_file():
        for file in sorted(path.glob("*.json")):
            if (camera := _read_camera(file, size)) is not None:
                return camera, ()
    return find_intrinsics(path, size, PRIMESENSE)


def _read_camera(file: Path, size: tuple[int, int]) -> np.ndarray | None:
    """The camera (3, 3) in one of Open3D's JSON files, for images of ``size``; None: it holds something else."""
    try:
        record = json.loads(file.read_bytes())
        columns = record["intrinsic_matrix"]
        made_for = (int(record["width"]), int(record["height"]))
        matrix = np.array(columns, np.float64).reshape(3, 3).T
    except (KeyError, TypeError, ValueError, OverflowError, RecursionError):
        return None
    if min(made_for) < 1:
        return None
    if made_for[0] * size[1] != made_for[1] * size[0]:
        raise ValueError(
            f"{file} is of a camera with {made_for[0]}x{made_for[1]} pixels, the depth images have "
            f"{size[0]}x{size[1]}: put the intrinsics of these images there"
        )
    return check_intrinsics(scale_intrinsics(matrix, made_for, size), size, file)


def _trajectory(path: Path) -> Path | None:
    named = [path / name for name in TRAJECTORIES if (path / name).is_file()]
    return next(iter([*named, *sorted(path.glob("*.log"))]), None)
