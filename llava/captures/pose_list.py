"""A list of poses beside folders of images, as slambook2 (Gao and Zhang) and many exercises have it.

color/      pictures
depth/      uint16 millimetres, 0 = unknown, registered to the colour: PNG or PGM, the latter also with gzip
pose.txt    a line ``tx ty tz qx qy qz qw`` for each image in order, camera to world
"""

from __future__ import annotations

import gzip
import re
import zlib
from pathlib import Path

import numpy as np
from tqdm import tqdm

from llava.captures.folders import pairs
from llava.captures.gather import Listed, find_intrinsics, gather, unreadable
from llava.captures.pixels import save_depth
from llava.captures.trajectories import quaternion_poses, read_numbers
from llava.types import Dropped, Scene

NAME = "pose list"
LAYOUT = "color/, depth/ (PNG, PGM or .pgm.gz), pose.txt (tx ty tz qx qy qz qw); optional: camera-intrinsics.txt"
PACKED = True  # PGM is not what the rest reads

POSES = "pose.txt"
SLAMBOOK = (518.0, 519.0, 325.5, 253.5)  # fx fy cx cy, which the book has in its programs and not beside the images
DEPTH = (".png", ".pgm", ".pgm.gz")
PGM = re.compile(rb"P5(?:\s|#[^\n]*\n)+(\d+)(?:\s|#[^\n]*\n)+(\d+)(?:\s|#[^\n]*\n)+(\d+)\s")
MOST_BYTES = 1 << 26  # of a depth image; what unpacks to more is no image


def fits(path: Path) -> bool:
    return all(((path / POSES).is_file(), (path / "color").is_dir(), (path / "depth").is_dir()))


def read(path: Path, scratch: Path) -> Scene:
    """Open such a folder. Nobody says what is up in it; without intrinsics a 640x480 Kinect is taken.

    Raises:
        ValueError: another number of poses than of images, columns that are no poses, no usable frame, or intrinsics
            that do not fit the images.
    """
    files = pairs(path / "color", path / "depth", DEPTH)
    rows = read_numbers(path / POSES, "tx ty tz qx qy qz qw")
    if len(rows) != len(files):
        raise ValueError(
            f"{path / POSES} has {len(rows)} poses, but {path} has {len(files)} images: expected a line for each, "
            "in order of their numbers"
        )
    listed, dropped = [], []
    poses = quaternion_poses(rows, path / POSES)
    for (name, color, depth), pose in zip(tqdm(files, "unpacking", leave=False, disable=None), poses, strict=True):
        try:
            listed.append(Listed(name, color, _as_png(depth, scratch / f"{name}.png"), pose))
        except ValueError as error:
            dropped.append(Dropped(name, str(error)))
        except OSError as error:
            dropped.append(Dropped(name, unreadable(error)))
    gathered = gather(listed, np.eye(4), dropped)
    depth_k, doubts = find_intrinsics(path, gathered.depth_size, SLAMBOOK)
    return gathered.registered(f"posed/{path.resolve().name}", depth_k, doubts)


def read_pgm(path: Path) -> np.ndarray:
    """A 16-bit grey PGM, packed with gzip or not, (H, W) uint16. ValueError: it is something else, or damaged.

    Pillow would stretch values of a PGM whose largest is not 65535.
    """
    try:
        with path.open("rb") as file:
            data = (gzip.GzipFile(fileobj=file) if path.suffix == ".gz" else file).read(MOST_BYTES)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"depth image {path.name} cannot be unpacked ({error})") from error
    head = PGM.match(data)
    if head is None:
        raise ValueError(f"depth image {path.name} is " + ("no binary PGM" if data else "empty"))
    width, height, largest = map(int, head.groups())
    if not 255 < largest < 1 << 16:
        raise ValueError(f"depth image {path.name} has values up to {largest}, expected 16 bits")
    if len(data) - head.end() < 2 * width * height:
        raise ValueError(f"depth image {path.name} is truncated ({len(data)} bytes for {width}x{height} pixels)")
    return np.frombuffer(data, ">u2", width * height, head.end()).reshape(height, width).astype(np.uint16)


def _as_png(depth: Path, png: Path) -> Path:
    if depth.suffix == ".png":
        return depth
    save_depth(read_pgm(depth), png)
    return png
