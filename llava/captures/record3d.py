"""Record3D's ``.r3d`` recordings of an iPhone or iPad with LiDAR (https://record3d.app): a zip archive.

metadata        JSON: w, h of the pictures, dw, dh of the depth, K column by column for w x h, poses ``qx qy qz qw
                x y z`` a frame (camera to world, metres, OpenGL camera axes); newer: perFrameIntrinsicCoeffs
                ``fx fy cx cy``
rgbd/N.jpg      picture N
rgbd/N.depth    LZFSE of float32 metres, row by row; NaN: unknown
rgbd/N.conf     LZFSE of uint8, ARKit's confidence of each depth pixel

Pictures and depth see the same field at their two sizes; held upright, the phone writes both upright (its author in
github.com/marek-simonik/record3d, issues 7, 33, 36, 93, 108). Newer versions give the poses in ARKit's world, older
ones relative to the first camera, so that nothing says where up is (issue 27).
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from zipfile import ZIP_DEFLATED, ZIP_STORED, BadZipFile, ZipFile

import numpy as np
from tqdm import tqdm

from llava.captures import arkit, lzfse
from llava.captures.gather import Listed, check_intrinsics, gather, one_camera
from llava.captures.sens import usual_step
from llava.captures.trajectories import quaternion_poses
from llava.fields import NUMBERS, SIZE, Field, check_fields
from llava.geometry.camera import OPENGL_AXES, scale_intrinsics
from llava.types import Dropped, Scene

NAME = "Record3D"
LAYOUT = "<recording>.r3d (a zip with metadata and rgbd/N.{jpg,depth,conf})"
PACKED = True

LISTS = Field("a list of lists of numbers", lambda value: isinstance(value, list))
FIELDS = dict.fromkeys(("w", "h", "dw", "dh"), SIZE) | {
    "K": NUMBERS,
    "poses": LISTS,
    "perFrameIntrinsicCoeffs": LISTS.or_null(),
}
LIDAR = (192, 256)  # depth of recordings that do not say its size
MOST_TIMES, MOST_MORE = 10, 1 << 26  # bytes unpacked, of those packed: JPEG and LZFSE in a zip hardly shrink
LARGEST_SIDE = 1 << 13  # pixels
UNUSUAL = 0x61  # flags of a member that is encrypted, patched or strongly encrypted: zipfile reads none of these
SAME_WORLD = 1e-4  # radians: a phone in the hand is never as level in ARKit's world


@dataclass(frozen=True)
class _Recording:
    """What ``metadata`` says; n frames."""

    color_size: tuple[int, int]  # (width, height)
    depth_size: tuple[int, int]  # (width, height)
    cameras: np.ndarray  # (n, 3, 3) for the pictures
    poses: np.ndarray  # (n, 4, 4) camera to world as recorded, OpenGL camera axes; NaN: none


def fits(path: Path) -> bool:
    return path.suffix.lower() == ".r3d"


def read(path: Path, scratch: Path) -> Scene:
    """Unpack the recording: every frame, or every 10th of a long one. Depth that ARKit is not sure of is left out.

    Raises:
        ValueError: no whole zip archive, one that leaves its folder or unpacks to far more than it holds, metadata
            that are missing or of another form, no camera poses, or no usable frame.
    """
    with _opened(path) as archive:
        recording = _metadata(archive, path)
        names = archive.namelist()
        pictures = sum(name.startswith("rgbd/") and name.endswith(".jpg") for name in names)
        masked = any(name.endswith(".conf") for name in names)
        listed, cameras, faulty = [], [], []
        count = max(len(recording.poses), pictures)
        for index in tqdm(range(0, count, usual_step(count)), "unpacking", leave=False, disable=None):
            try:
                listed.append(_unpacked(archive, index, recording, scratch))
                cameras.append(recording.cameras[index])
            except ValueError as error:
                faulty.append(Dropped(f"{index:06d}", str(error)))
    doubts = () if masked else (arkit.NOT_MASKED,)
    if not listed:
        raise ValueError(f"{path} has no usable frame of {count} ({faulty[0].name}: {faulty[0].reason})")
    k, listed, others, refocused = one_camera(listed, cameras, recording.color_size)
    gathered = gather(listed, arkit.Z_UP, (*faulty, *others))
    color_k = check_intrinsics(
        scale_intrinsics(k, recording.color_size, gathered.color_size), gathered.color_size, path / "metadata"
    )
    first = recording.poses[np.isfinite(recording.poses).all(axis=(1, 2))][0]
    return Scene(
        name=f"record3d/{path.stem}",
        frames=gathered.frames,
        color_size=gathered.color_size,
        depth_size=gathered.depth_size,
        color_intrinsics=color_k,
        depth_intrinsics=scale_intrinsics(color_k, gathered.color_size, gathered.depth_size),
        align=arkit.Z_UP,
        up=None if np.abs(first[:3, :3] - np.eye(3)).max() < SAME_WORLD else arkit.UP,
        dropped=gathered.dropped,
        doubts=(*doubts, *refocused),
    )


@contextmanager
def _opened(path: Path) -> Iterator[ZipFile]:
    """The archive, once its list of members is harmless. ValueError: it is not, or it is no zip archive."""
    try:
        archive = ZipFile(path)
    except (BadZipFile, OSError, EOFError) as error:
        raise ValueError(f"{path} is no whole zip archive ({error}): export the recording again") from error
    with archive:
        total = 0
        for member in archive.infolist():
            name = member.filename.replace("\\", "/")
            if name.startswith("/") or ":" in name.split("/")[0] or ".." in PurePosixPath(name).parts:
                raise ValueError(f"{path} holds {member.filename!r}, a path out of its folder: do not trust this file")
            if member.flag_bits & UNUSUAL or member.compress_type not in (ZIP_STORED, ZIP_DEFLATED):
                raise ValueError(f"{path}: {name} is encrypted or packed unusually: export the recording again")
            total += member.file_size
        packed = path.stat().st_size
        if total > MOST_TIMES * packed + MOST_MORE:
            raise ValueError(
                f"{path} of {packed:,} bytes would unpack to {total:,}, which no recording does: do not trust this file"
            )
        yield archive


def _member(archive: ZipFile, name: str) -> bytes:
    """A member's content. ValueError: it is missing or damaged."""
    try:
        return archive.read(name)
    except KeyError as error:
        raise ValueError(f"{name} is missing in the archive") from error
    except (BadZipFile, zlib.error, EOFError, OSError) as error:
        raise ValueError(f"{name} is damaged in the archive ({error})") from error


def _metadata(archive: ZipFile, path: Path) -> _Recording:
    try:
        record = json.loads(_member(archive, "metadata"))
        if not isinstance(record, dict):
            raise ValueError(f"it holds a {type(record).__name__}, expected an object")
        missing = [name for name in ("w", "h", "K", "poses") if name not in record]
        if missing:
            raise ValueError(f"it has no {missing[0]}")
        check_fields(record, FIELDS)
        return _recording(record)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: the metadata are no use ({error}): export the recording again") from error


def _recording(record: dict[str, Any]) -> _Recording:
    """What the metadata's fields, of the right types, say. ValueError: they contradict each other, or say nothing."""
    if len(record["K"]) != 9:
        raise ValueError(f"K has {len(record['K'])} numbers, expected 9")
    size = record["w"], record["h"]
    depth_size = record.get("dw"), record.get("dh")
    if None in depth_size:
        depth_size = LIDAR if size[0] < size[1] else LIDAR[::-1]
    if max(*size, *depth_size) > LARGEST_SIDE:
        raise ValueError(f"pictures of {size} and depth of {depth_size} pixels are too large")
    rows = np.array([_numbers(row, 7) for row in record["poses"]]).reshape(-1, 7)
    poses = quaternion_poses(np.roll(rows, 3, axis=1), Path("poses"))
    if not np.isfinite(poses).all(axis=(1, 2)).any():
        raise ValueError(f"not one of {len(poses)} poses is 7 finite numbers")
    if len(poses) > 1 and np.ptp(rows, axis=0).max() == 0:
        raise ValueError("all poses are the same: the front camera records none, use the LiDAR at the back")
    cameras = np.tile(np.reshape(record["K"], (3, 3)).T.astype(float), (len(poses), 1, 1))
    coefficients = record.get("perFrameIntrinsicCoeffs") or []
    if len(coefficients) == len(poses):
        for camera, values in zip(cameras, coefficients, strict=True):
            camera[[0, 1, 0, 1], [0, 1, 2, 2]] = _numbers(values, 4)
    return _Recording(size, depth_size, cameras, poses)


def _numbers(row: Any, count: int) -> np.ndarray:
    """The row's numbers (count,) as floats; NaN where it is something else, so that its frame alone is dropped."""
    try:
        numbers = np.array(row, np.float64)
    except (TypeError, ValueError, OverflowError):
        numbers = np.zeros(0)
    return numbers if numbers.shape == (count,) else np.full(count, np.nan)


def _unpacked(archive: ZipFile, index: int, recording: _Recording, scratch: Path) -> Listed:
    """Frame ``index`` in files of its own. ValueError: a part is missing or damaged."""
    if index >= len(recording.poses):
        raise ValueError(f"the metadata have {len(recording.poses)} poses, none for this picture")
    width, height = recording.depth_size
    color, depth = scratch / f"{index:06d}.jpg", scratch / f"{index:06d}.png"
    packed = {f"rgbd/{index}.depth": 4}
    if f"rgbd/{index}.conf" in archive.NameToInfo:
        packed[f"rgbd/{index}.conf"] = 1
    values = []
    for name, item in packed.items():
        try:
            values.append(lzfse.unpack(_member(archive, name), width * height * item))
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from error
    metres = np.frombuffer(values[0], "<f4").reshape(height, width)
    sure = np.frombuffer(values[1], np.uint8).reshape(height, width) if len(values) > 1 else None
    arkit.write_depth(depth, metres * 1000, sure)
    color.write_bytes(_member(archive, f"rgbd/{index}.jpg"))
    return Listed(f"{index:06d}", color, depth, recording.poses[index] @ OPENGL_AXES)
