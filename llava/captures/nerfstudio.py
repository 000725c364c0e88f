"""Nerfstudio's ``transforms.json`` with depth images, as it makes them of Polycam's and others' scans.

file_path, depth_file_path   of a frame, relative to the JSON; depth: 16-bit PNG of millimetres
transform_matrix             of a frame: camera to world (4x4 or 3x4), OpenGL camera axes
fl_x fl_y cx cy w h          for all frames or of each; or camera_angle_x (radians) as in instant-ngp's files
depth_unit_scale_factor      optional: metres of one depth unit, where it is not 0.001
applied_transform            optional: 3x4, the scanner's own world -> this world
applied_scale                optional: units of this world a metre (its poses are scaled, its depth is not)

See docs.nerf.studio/quickstart/data_conventions.html. ``cx`` and ``cy`` count from the corner of the first pixel, half
a pixel from its centre, where those of ``llava.geometry.camera`` count from. Polycam's worlds are upright with z up by
ARKit's gravity, and marked by ``orientation_override: none``; of others nobody says where up is.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from llava.captures import arkit
from llava.captures.folders import natural_order
from llava.captures.gather import Listed, check_intrinsics, gather, one_camera
from llava.captures.images import color_size
from llava.fields import POSITIVE, SIZE, TEXT, Field, check_fields
from llava.geometry.camera import OPENGL_AXES, is_rigid_pose, scale_intrinsics
from llava.types import Dropped, Scene

NAME = "Nerfstudio"
LAYOUT = "transforms.json with depth_file_path (Polycam's scans, too, after ns-process-data)"
PACKED = False

TRANSFORMS = "transforms.json"
FIELDS = {
    "frames": Field("a list of frames", lambda value: isinstance(value, list) and value != []),
    "camera_model": TEXT,
    "applied_scale": POSITIVE,
    "depth_unit_scale_factor": POSITIVE,
}
LENGTH = Field("a number", lambda value: isinstance(value, int | float) and not isinstance(value, bool))
# Of pixels; instant-ngp's scripts write 1920.0.
SIDE = Field(
    SIZE.expected,
    lambda value: SIZE.holds(int(value) if isinstance(value, float) and value.is_integer() else value),
)
CAMERA_FIELDS = {
    **dict.fromkeys(("fl_x", "fl_y", "camera_angle_x"), POSITIVE),
    **{"cx": LENGTH, "cy": LENGTH, "w": SIDE, "h": SIDE},
}
PINHOLES = ("OPENCV", "PINHOLE", "SIMPLE_PINHOLE", "PERSPECTIVE", "perspective")
DISTORTION = ("k1", "k2", "k3", "k4", "p1", "p2")
BENT = 0.01  # of a distortion's coefficient: about half a per cent of the width at the edge of a picture
MILLIMETRE = 0.001
COLORS = ("", ".png", ".jpg", ".jpeg")  # instant-ngp's names lack the ending


def fits(path: Path) -> bool:
    return _transforms(path).is_file()


def read(path: Path, scratch: Path) -> Scene:
    """Open the frames where they lie.

    Raises:
        ValueError: JSON of another form, a camera that is no pinhole, no depth, or no usable frame.
    """
    file = _transforms(path)
    record = _record(file)
    metre = record.get("applied_scale", 1.0)
    listed, cameras, faulty = [], [], []
    frames = sorted(record["frames"], key=lambda frame: natural_order(str(frame.get("file_path"))))
    names = _names(frames)
    for name, frame in zip(names, frames, strict=True):
        try:
            entry = _listed(file.parent, name, frame, metre)
            cameras.append(_camera(record | frame, entry.color))
            listed.append(entry)
        except (OSError, ValueError) as error:
            faulty.append(Dropped(name, str(error)))
    if not listed:
        raise ValueError(f"{file} has no usable frame of {len(faulty)} ({faulty[0].name}: {faulty[0].reason})")
    sizes = [size for size, _ in cameras]
    size = max(set(sizes), key=sizes.count)
    k, listed, others, refocused = one_camera(listed, [camera for _, camera in cameras], size)
    align = _applied(record, file)
    gathered = gather(listed, np.eye(4), (*faulty, *others))
    k = check_intrinsics(k, size, file)
    return Scene(
        name=f"nerfstudio/{file.resolve().parent.name}",
        frames=gathered.frames,
        color_size=gathered.color_size,
        depth_size=gathered.depth_size,
        color_intrinsics=_centred(scale_intrinsics(k, size, gathered.color_size)),
        depth_intrinsics=_centred(scale_intrinsics(k, size, gathered.depth_size)),
        depth_scale=1 / record.get("depth_unit_scale_factor", MILLIMETRE),
        align=align,
        up=arkit.UP if record.get("orientation_override") == "none" else None,
        dropped=gathered.dropped,
        doubts=(*refocused, *_bent(record)),
    )


def _transforms(path: Path) -> Path:
    return path if path.name == TRANSFORMS else path / TRANSFORMS


def _record(file: Path) -> dict[str, Any]:
    try:
        record = json.loads(file.read_bytes())
        if not isinstance(record, dict) or "frames" not in record:
            raise ValueError('it has no "frames"')
        check_fields(record, FIELDS)
        if not all(isinstance(frame, dict) for frame in record["frames"]):
            raise ValueError("a frame is no object")
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{file} is no file of Nerfstudio's ({error})") from error
    model = record.get("camera_model", "OPENCV")
    if model not in PINHOLES:
        raise ValueError(f"{file}: camera_model is {model}, only pinhole cameras can be read ({', '.join(PINHOLES)})")
    if not any("depth_file_path" in frame for frame in record["frames"]):
        raise ValueError(
            f"{file} names no depth images (depth_file_path): a scene needs depth; for Polycam's scans, "
            "`ns-process-data polycam --use-depth` adds it"
        )
    return record


def _names(frames: list[dict[str, Any]]) -> list[str]:
    """The pictures' names, or numbers where two of them are the same or something is no name."""
    names = [Path(str(frame.get("file_path"))).stem for frame in frames]
    return names if len(set(names)) == len(names) and all(names) else [f"{index:06d}" for index in range(len(frames))]


def _listed(folder: Path, name: str, frame: dict[str, Any], metre: float) -> Listed:
    check_fields(frame, {"file_path": TEXT, "depth_file_path": TEXT})
    missing = [key for key in ("file_path", "depth_file_path", "transform_matrix") if key not in frame]
    if missing:
        raise ValueError(f"it has no {missing[0]}")
    try:
        matrix = np.array(frame["transform_matrix"], np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError("its transform_matrix holds no 4x4 numbers") from error
    if matrix.shape not in ((4, 4), (3, 4)):
        raise ValueError(f"its transform_matrix has shape {matrix.shape}, expected 4x4 or 3x4")
    pose = np.eye(4)
    pose[: len(matrix)] = matrix
    pose[:3, 3] /= metre
    color = folder / frame["file_path"]
    found = next((each for ending in COLORS if (each := color.with_name(color.name + ending)).is_file()), color)
    return Listed(name, found, folder / frame["depth_file_path"], pose @ OPENGL_AXES)


def _camera(values: dict[str, Any], color: Path) -> tuple[tuple[int, int], np.ndarray]:
    """Size (width, height) and intrinsics (3, 3) of a frame, as written. ValueError: they are missing or none."""
    check_fields(values, CAMERA_FIELDS)
    size = (int(values["w"]), int(values["h"])) if "w" in values and "h" in values else color_size(color)
    if "fl_x" in values:
        fx = values["fl_x"]
    elif "camera_angle_x" in values:
        fx = size[0] / 2 / np.tan(values["camera_angle_x"] / 2)
    else:
        raise ValueError("it has no intrinsics (fl_x)")
    fy, cx, cy = values.get("fl_y", fx), values.get("cx", size[0] / 2), values.get("cy", size[1] / 2)
    return size, np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]], np.float64)


def _centred(k: np.ndarray) -> np.ndarray:
    """Intrinsics (3, 3) that count from the centre of the first pixel, of those that count from its corner."""
    return k - np.array([[0, 0, 0.5], [0, 0, 0.5], [0, 0, 0]])


def _applied(record: dict[str, Any], file: Path) -> np.ndarray:
    """The (4, 4) motion from the scanner's world to that of the poses. ValueError: it is none."""
    align = np.eye(4)
    if "applied_transform" in record:
        try:
            given = np.array(record["applied_transform"], np.float64)
        except (TypeError, ValueError, OverflowError) as error:
            raise ValueError(f"{file}: applied_transform holds no 3x4 numbers") from error
        if given.shape not in ((3, 4), (4, 4)):
            raise ValueError(f"{file}: applied_transform has shape {given.shape}, expected 3x4")
        align[: len(given)] = given
        if not is_rigid_pose(align):
            raise ValueError(f"{file}: applied_transform is no rigid motion, expected a rotation and a translation")
    return align


def _bent(record: dict[str, Any]) -> tuple[str, ...]:
    frame = record["frames"][0]
    worst = max(
        (abs(value) for key in DISTORTION if isinstance(value := (record | frame).get(key), int | float)), default=0
    )
    doubt = (
        f"the lens's distortion ({worst:.2g}) is not taken out: undistort the images, or positions bend at the edges"
    )
    return (doubt,) if worst > BENT else ()
