"""What `llava doctor` looks at in one scene's files. A check returns None where they are not there, else its remarks:
what is worth knowing about the scene though nothing is wrong; ValueError tells what is wrong."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import numpy as np

from llava.captures.images import JPEG_END, PNG_END, TAIL, color_size
from llava.captures.sens import SensReader
from llava.prepare.layout import Layout
from llava.prepare.scans import read_mesh
from llava.resumable import read_json

SHOWN = 5
SMALL = (640, 480)
SMALL_COLOR = "colour of 640x480 instead of 1296x968 (ScanNet has 42 such scans; each is read at its own size)"
LOST_POSES = "poses that are not finite (tracking was lost there: readers leave these frames out)"
Remarks = list[str] | None


def check_video(layout: Layout, split: str, scene: str) -> Remarks:
    """The `.sens` file: whether all its frames are there. It is not needed, nor read, where posed images are."""
    if layout.posed_images(scene).is_dir():
        return []
    if not layout.sens(scene).exists():
        return None
    reader = SensReader(layout.sens(scene))
    if len(reader) == 0:
        raise ValueError(f"{layout.sens(scene)} holds no frame: copy or download it again")
    for _ in reader.frames(every=max(len(reader), 1)):  # goes from frame to frame without reading the pictures
        pass
    return [SMALL_COLOR] if reader.color_size == SMALL else []


def check_scan(layout: Layout, split: str, scene: str) -> Remarks:
    """Mesh, segments and labels; not needed where the points are made."""
    if layout.points(split, scene).exists():
        return []
    labels = [] if split == "test" else [layout.segments(scene), layout.aggregation(scene)]
    if not all(path.exists() for path in (layout.mesh(scene), *labels)):
        return None
    read_mesh(layout.mesh(scene))
    for path in labels:
        read_json(path)
    return []


def check_mask(layout: Layout, split: str, scene: str) -> Remarks:
    return _check_zip(layout.mask(scene), "get it again")


def check_points(layout: Layout, split: str, scene: str) -> Remarks:
    return _check_zip(layout.points(split, scene), "delete it and run `llava prepare` again")


def _check_zip(path: Path, remedy: str) -> Remarks:
    if not path.exists():
        return None
    if not zipfile.is_zipfile(path):
        raise ValueError(f"{path} is damaged or cut short: {remedy}")
    return []


def check_posed_images(layout: Layout, split: str, scene: str) -> Remarks:
    """Every frame has its three files, the images have their ends, and some of the poses are finite."""
    folder = layout.posed_images(scene)
    if not folder.is_dir():
        return None
    names = set(os.listdir(folder))
    stems = sorted({name.split(".")[0] for name in names if name[0].isdigit()})
    wanted = {f"{stem}.{kind}" for stem in stems for kind in ("jpg", "png", "txt")}
    cameras = {"intrinsic.txt", "depth_intrinsic.txt"}
    missing = sorted((wanted | cameras) - names)
    cut = [name for name in sorted(wanted & names) if not _has_end(folder / name)]
    poses = {name: _is_finite(folder / name) for name in sorted(wanted & names) if name.endswith(".txt")}
    cut += [name for name, finite in poses.items() if finite is None and name not in cut]
    cut += [name for name in sorted(cameras & names) if not _is_finite(folder / name)]
    problems = [f"lacks {', '.join(missing[:SHOWN])}"] * bool(missing) + [f"cut: {', '.join(cut[:SHOWN])}"] * bool(cut)
    if not stems:
        problems.append("holds no frame")
    elif not any(poses.values()):
        problems.append("has no frame with a finite pose")
    if problems:
        raise ValueError(f"{folder} {'; '.join(problems)}; delete the folder and run `llava prepare` again")
    try:
        size = color_size(folder / f"{stems[0]}.jpg")
    except ValueError as error:
        raise ValueError(f"{folder}: {error}; delete the folder and run `llava prepare` again") from error
    return [LOST_POSES] * (not all(poses.values())) + [SMALL_COLOR] * (size == SMALL)


def _has_end(path: Path) -> bool:
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - TAIL))
        tail = file.read()
    return {".jpg": JPEG_END, ".png": PNG_END, ".txt": b""}[path.suffix] in tail and size > 0


def _is_finite(path: Path) -> bool | None:
    """Whether a matrix is finite; None where the file holds no 4x4 numbers."""
    try:
        values = np.array(path.read_text().split(), np.float64)
    except ValueError:
        return None
    return bool(np.isfinite(values).all()) if values.size == 16 else None
