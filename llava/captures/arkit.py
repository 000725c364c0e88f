"""What captures made with Apple's ARKit share: its world, and how sure it is of its depth.

ARKit's world is upright by gravity with y up; its camera looks along -z with y up, as in OpenGL. Its depth comes with
a confidence of 0 (low), 1 (medium) or 2 (high) a pixel.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from llava.captures.pixels import UNDECODABLE, save_depth

UP = "ARKit's gravity"
Z_UP = np.array([[1.0, 0, 0, 0], [0, 0, -1, 0], [0, 1, 0, 0], [0, 0, 0, 1]])  # the y-up world -> z-up
# Medium confidence, too, is where a surface ends or is far, dark or shiny: points that hang in the air between two
# things. A hole costs little, since only valid depth is averaged; such points widen every box that they touch.
SURE = 2
NOT_MASKED = "the capture does not say how sure it is of its depth: what is wrong at the edges of things was kept"
MOST_DEPTH = 65535  # millimetres; what 16 bits hold


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
    save_depth(np.where(known, np.rint(millimetres), 0).astype(np.uint16), path)


def read_grey(path: Path) -> np.ndarray:
    """The values (H, W) of a grey PNG. ValueError: it is missing, or cannot be decoded."""
    try:
        with Image.open(path) as image:
            values = np.asarray(image)
    except FileNotFoundError as error:
        raise ValueError(f"{path.parent.name}/{path.name} is missing") from error
    except UNDECODABLE as error:
        raise ValueError(f"{path.parent.name}/{path.name} cannot be decoded ({error})") from error
    if values.ndim != 2:
        raise ValueError(f"{path.parent.name}/{path.name} has {values.shape[2]} channels, expected one")
    return values
