"""What all readers share: turn listed files into frames, and leave out, with a reason, those that are no use."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from llava.captures.images import color_size, depth_size
from llava.geometry.camera import is_finite_pose, is_rigid_pose, scale_intrinsics
from llava.types import Dropped, Frame, Scene

INTRINSICS = "camera-intrinsics.txt"
KINECT = (640, 480)  # (width, height)
SAME_SHAPE = 0.02  # of the ratio of width to height; sizes are rounded
OTHER_CAMERA = 0.03  # of the image's width
REFOCUSED = 0.01  # of the image's width; 2 to 3 cm at 3 m
CENTRE_TOLERANCE = 0.2  # of the image side; real principal points lie within a few per cent of the middle


@dataclass(frozen=True)
class Listed:
    """What should make one frame; a reader names all files, whether or not they are there."""

    name: str
    color: Path
    depth: Path
    pose: Path | np.ndarray  # a text file of 4x4 numbers, or the (4, 4) camera to world that is in a file of all poses


@dataclass(frozen=True)
class Gathered:
    """The frames that can be used, the sizes they share, and the frames left out."""

    frames: tuple[Frame, ...]
    color_size: tuple[int, int]  # (width, height)
    depth_size: tuple[int, int]  # (width, height)
    dropped: tuple[Dropped, ...]

    def registered(self, name: str, depth_k: np.ndarray, doubts: tuple[str, ...]) -> Scene:
        """The scene of a capture whose depth is registered to its pictures, with the intrinsics (3, 3) of the depth."""
        (width, height), (across, down) = self.color_size, self.depth_size
        if abs(width * down / (height * across) - 1) >= SAME_SHAPE:
            unlike = (
                f"pictures of {width}x{height} and depth images of {across}x{down} pixels cannot show the same field, "
                "but are laid over each other: register the depth to the colour when you record"
            )
            doubts = (*doubts, unlike)
        return Scene(
            name=name,
            frames=self.frames,
            color_size=self.color_size,
            depth_size=self.depth_size,
            color_intrinsics=scale_intrinsics(depth_k, self.depth_size, self.color_size),
            depth_intrinsics=depth_k,
            dropped=self.dropped,
            doubts=doubts,
        )


def gather(listed: Iterable[Listed], align: np.ndarray, faulty: Iterable[Dropped] = ()) -> Gathered:
    """Read the poses, look at the images, and drop every frame with a fault.

    A frame is dropped when a file is missing, unreadable, empty, truncated or of the wrong kind, when its pose is not
    finite or no rigid motion, when its name was another's, or when an image's size differs from that of most frames.

    Args:
        listed: files of each frame, in order.
        align: (4, 4) capture's world -> this world; multiplied to every pose.
        faulty: frames that the reader has found useless itself.

    Raises:
        ValueError: no frame is left.
    """
    found: list[tuple[Frame, tuple[int, int], tuple[int, int]]] = []
    dropped, names = list(faulty), set()
    for entry in listed:
        if entry.name in names:
            dropped.append(Dropped(entry.name, "an earlier frame has the same name"))
            continue
        names.add(entry.name)
        try:
            pose = align @ _usable_pose(entry.pose)
            frame = Frame(entry.name, entry.color, entry.depth, pose)
            found.append((frame, color_size(entry.color), depth_size(entry.depth)))
        except OSError as error:
            dropped.append(Dropped(entry.name, unreadable(error)))
        except ValueError as error:
            dropped.append(Dropped(entry.name, str(error)))
    if not found:
        reasons = "; ".join(f"{drop.name}: {drop.reason}" for drop in dropped[:5]) or "no frame was listed"
        raise ValueError(f"no usable frame ({reasons})")
    sizes = Counter((color, depth) for _, color, depth in found).most_common(1)[0][0]
    frames = []
    for frame, color, depth in found:
        if (color, depth) == sizes:
            frames.append(frame)
            continue
        kind, size, usual = ("colour", color, sizes[0]) if color != sizes[0] else ("depth", depth, sizes[1])
        reason = f"{kind} image is {size[0]}x{size[1]}, the other frames' are {usual[0]}x{usual[1]}"
        dropped.append(Dropped(frame.name, reason))
    return Gathered(tuple(frames), *sizes, tuple(sorted(dropped, key=lambda drop: drop.name)))


def unreadable(error: OSError) -> str:
    """Why the system does not give a file, as the reason for which its frame is dropped."""
    name = Path(error.filename).name if error.filename else "a file"
    return f"{name} is missing" if isinstance(error, FileNotFoundError) else f"{name} cannot be read ({error.strerror})"


def one_camera(
    listed: Sequence[Listed], cameras: Sequence[np.ndarray], size: tuple[int, int]
) -> tuple[np.ndarray, list[Listed], list[Dropped], tuple[str, ...]]:
    """The one camera that a ``Scene`` has, in place of one a frame that focus and stabilisation move a little.

    Args:
        listed: the frames.
        cameras: intrinsics (3, 3) of each.
        size: (width, height) of the images that they are for.

    Returns:
        The median intrinsics (3, 3); the frames that they fit; those taken by another camera, or whose intrinsics are
        none; and what is doubtful about the rest.

    Raises:
        ValueError: no frame has intrinsics.
    """
    ks = np.stack(cameras) if cameras else np.zeros((0, 3, 3))
    usable = np.isfinite(ks).all(axis=(1, 2)) & (ks[:, 0, 0] > 0) & (ks[:, 1, 1] > 0)
    if not usable.any():
        raise ValueError(f"no frame of {len(listed)} has intrinsics with positive, finite focal lengths")
    middle = np.median(ks[usable], axis=0)
    corners = np.array([[0, 0], size]) - middle[:2, 2]
    rays = corners / middle[[0, 1], [0, 1]]
    moved = rays * ks[usable][:, None, [0, 1], [0, 1]] + ks[usable][:, None, :2, 2] - middle[:2, 2] - corners
    off = np.full(len(ks), np.inf)  # by how much of the width a frame's own camera puts a corner elsewhere
    off[usable] = np.abs(moved).max(axis=(1, 2)) / size[0]
    kept, dropped = [], []
    for entry, share in zip(listed, off, strict=True):
        if share <= OTHER_CAMERA:
            kept.append(entry)
        else:
            by = f"by {share:.0%} of the width" if np.isfinite(share) else "(they are no intrinsics)"
            dropped.append(Dropped(entry.name, f"its intrinsics differ from most other frames' {by}"))
    worst = off[off <= OTHER_CAMERA].max(initial=0)
    doubt = (
        f"the focus moved: one set of intrinsics stands for all frames, and is off by up to {worst:.1%} of the width"
    )
    return middle, kept, dropped, (doubt,) if worst > REFOCUSED else ()


def read_matrix(path: Path) -> np.ndarray:
    """A 3x3 or 4x4 matrix of white-space separated numbers. ValueError: something else, or no such file."""
    if not path.is_file():
        raise ValueError(f"{path} is missing: it holds the camera's intrinsics (3x3 or 4x4 numbers)")
    return _parse(path)


def find_intrinsics(
    folder: Path, size: tuple[int, int], usual: Sequence[float], certain: bool = False
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Intrinsics (3, 3) of depth images of ``size``, and what is doubtful about them.

    They are those of ``camera-intrinsics.txt`` (3x3); where a capture has none, the ``usual`` fx fy cx cy of a
    640x480 sensor, about which there is no doubt where the reader is ``certain``.

    ValueError: they do not fit the images, or there are none and the images are of another size.
    """
    file = folder / INTRINSICS
    if file.is_file():
        return check_intrinsics(read_matrix(file), size, file), ()
    if size != KINECT:
        raise ValueError(
            f"{file} is missing, and what the camera of {size[0]}x{size[1]} pixels is cannot be guessed: write its 3x3 "
            "matrix there (fx 0 cx, 0 fy cy, 0 0 1)"
        )
    fx, fy, cx, cy = usual
    told = f"the capture has no intrinsics: fx {fx:g} fy {fy:g} cx {cx:g} cy {cy:g} are taken; put {INTRINSICS} there"
    return np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1.0]]), () if certain else (told,)


def check_intrinsics(intrinsics: np.ndarray, size: tuple[int, int], path: Path) -> np.ndarray:
    """The upper (3, 3) of ``intrinsics``; ValueError where they cannot belong to images of ``size``.

    A principal point far from the middle means that the intrinsics were made for another resolution.
    """
    k = intrinsics[:3, :3]
    (fx, fy), (cx, cy) = (k[0, 0], k[1, 1]), (k[0, 2], k[1, 2])
    if not (np.isfinite(k).all() and fx > 0 and fy > 0):
        raise ValueError(f"{path}: focal lengths must be positive and finite, found fx {fx:g}, fy {fy:g}")
    width, height = size
    if abs(cx / width - 0.5) > CENTRE_TOLERANCE or abs(cy / height - 0.5) > CENTRE_TOLERANCE:
        raise ValueError(
            f"{path}: the principal point ({cx:g}, {cy:g}) is far from the middle of a {width}x{height} image; "
            f"these intrinsics seem to be for about {2 * cx:.0f}x{2 * cy:.0f}: scale them to the images' size"
        )
    return k


def _usable_pose(given: Path | np.ndarray) -> np.ndarray:
    pose, what = (given, "the pose") if isinstance(given, np.ndarray) else (_parse(given), f"pose {given.name}")
    if pose.shape != (4, 4):
        raise ValueError(f"{what} is {pose.shape[0]}x{pose.shape[1]}, expected 4x4")
    if not is_finite_pose(pose):
        raise ValueError("pose is not finite (the tracker lost the camera)")
    if not is_rigid_pose(pose):
        raise ValueError(f"{what} is no rigid motion (rotation and translation)")
    return pose


def _parse(path: Path) -> np.ndarray:
    try:
        rows = [line.split() for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
        matrix = np.array([[float(word) for word in row] for row in rows])
    except ValueError as error:
        raise ValueError(f"{path.name} holds no matrix of numbers with blanks between ({error})") from error
    if matrix.shape not in ((3, 3), (4, 4)):
        raise ValueError(f"{path.name} has shape {matrix.shape}, expected a 3x3 or 4x4 matrix")
    return matrix
