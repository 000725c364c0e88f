"""What captures made with Apple's ARKit share: its world, its cameras, and how sure it is of its depth.

ARKit's world is upright by gravity with y up; its camera looks along -z with y up, as in OpenGL. Its depth comes with
a confidence of 0 (low), 1 (medium) or 2 (high) a pixel.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from llava.captures.gather import Listed
from llava.types import Dropped

UP = "ARKit's gravity"
Z_UP = np.array([[1.0, 0, 0, 0], [0, 0, -1, 0], [0, 1, 0, 0], [0, 0, 0, 1]])  # the y-up world -> z-up
OPENGL_CAMERA = np.diag([1.0, -1.0, -1.0, 1.0])  # camera axes of OpenCV -> those of OpenGL, and back
# Medium confidence, too, is where a surface ends or is far, dark or shiny: points that hang in the air between two
# things. A hole costs little, since only valid depth is averaged; such points widen every box that they touch.
SURE = 2
NOT_MASKED = "the capture does not say how sure it is of its depth: what is wrong at the edges of things was kept"
MOST_DEPTH = 65535  # millimetres; what 16 bits hold
OTHER_CAMERA = 0.03  # of the image's width
REFOCUSED = 0.01  # of the image's width; 2 to 3 cm at 3 m


def write_depth(path: Path, millimetres: np.ndarray, confidence: np.ndarray | None) -> None:
    """Write depth (H, W) as a 16-bit PNG of millimetres, 0 where unknown or not ``SURE``.

    Args:
        path: the file to write.
        millimetres: of any number type; what is no number, negative or beyond 65.5 m is unknown.
        confidence: (H, W) 0, 1 or 2; None: the capture has none.

    Raises:
        ValueError: depth and confidence differ in shape.
    """
    with np.errstate(invalid="ignore"):  # NaN is what ARKit writes where it sees nothing
        known = (millimetres > 0) & (millimetres <= MOST_DEPTH)
    if confidence is not None:
        if confidence.shape != millimetres.shape:
            sizes = [f"{values.shape[1]}x{values.shape[0]}" for values in (confidence, millimetres)]
            raise ValueError(f"the confidence is {sizes[0]}, expected one value a depth pixel, {sizes[1]}")
        known &= confidence >= SURE
    depth = np.where(known, np.rint(millimetres), 0).astype(np.uint16)
    Image.fromarray(depth).save(path, compress_level=1)  # 4 times faster for 10 % more bytes


def read_grey(path: Path) -> np.ndarray:
    """The values (H, W) of a grey PNG. ValueError: it is missing, or cannot be decoded."""
    try:
        with Image.open(path) as image:
            values = np.asarray(image)
    except FileNotFoundError as error:
        raise ValueError(f"{path.parent.name}/{path.name} is missing") from error
    except (OSError, SyntaxError, ValueError) as error:  # what Pillow raises for damaged files
        raise ValueError(f"{path.parent.name}/{path.name} cannot be decoded ({error})") from error
    if values.ndim != 2:
        raise ValueError(f"{path.parent.name}/{path.name} has {values.shape[2]} channels, expected one")
    return values


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
