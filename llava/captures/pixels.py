"""From files to arrays: depth in metres, and the views that the encoder reads."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from llava.geometry.camera import Crop, nearest_rows_cols, square_crop, unproject
from llava.geometry.voxels import VOXEL_SIZE, union, voxel_keys
from llava.types import Scene, Views

BAND_PIXELS = 2**15  # of a depth image become points at a time: few enough for memory and cache to be used again
# What Pillow raises for damaged files, and for those that say they have hundreds of millions of pixels.
UNDECODABLE = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)
SHARP = 1024  # steps of whole 1024ths of a pixel are exact in the arithmetic of Pillow's resize


def load_color(scene: Scene, index: int) -> Image.Image:
    """The frame's picture, RGB. ValueError names a file that cannot be decoded."""
    picture = _decode(scene.frames[index].color)
    if picture.mode.startswith("I"):  # 16-bit grey, which Pillow would cut off at 255
        picture = Image.fromarray((np.asarray(picture) >> 8).astype(np.uint8))
    return picture if picture.mode == "RGB" else picture.convert("RGB")


def load_depth(scene: Scene, index: int, rows: np.ndarray | None = None, cols: np.ndarray | None = None) -> np.ndarray:
    """Depth (H, W) float32 in metres, 0 where unknown; with ``rows`` and ``cols`` of these pixels alone.

    ValueError names a file that cannot be decoded.
    """
    raw = np.asarray(_decode(scene.frames[index].depth))
    if rows is not None and cols is not None:
        raw = raw[rows][:, cols]
    return _metres(scene, raw)


def _metres(scene: Scene, raw: np.ndarray) -> np.ndarray:
    depth = raw.astype(np.float32)
    depth /= np.float32(scene.depth_scale)
    for unknown in scene.depth_unknown:
        if unknown != 0:
            depth[raw == unknown] = 0
    return depth


def save_depth(raw: np.ndarray, path: Path) -> None:
    """Write raw depth (H, W) uint16 as a PNG."""
    Image.fromarray(raw).save(path, compress_level=1)  # 4 times faster for 10 % more bytes


def uniform_indices(total: int, count: int) -> list[int]:
    """``count`` evenly spaced indices of ``total``, first and last included, truncated to integers."""
    return np.linspace(0, total - 1, count, dtype=int).tolist()


def some_frames(scene: Scene, most: int) -> list[int]:
    """Indices of at most so many frames, evenly spread over the capture."""
    return uniform_indices(len(scene.frames), min(len(scene.frames), most))


def load_views(scene: Scene, indices: Sequence[int], size: int) -> Views:
    """The frames at ``indices`` as squares of ``size`` pixels with the world position of each pixel.

    The depth image decides the crop (short side to ``size``, long side cropped evenly, nearest pixel); colour
    is resized to the same grid (bicubic, Pillow), which assumes that both cameras see the same field, as in
    the reference. Where depth is unknown ``coords`` hold the camera centre and ``valid`` is False.

    ValueError: an index outside the scene, or a file that cannot be decoded.
    """
    wrong = [index for index in indices if not 0 <= index < len(scene.frames)]
    if wrong:
        raise ValueError(f"scene {scene.name} has frames 0..{len(scene.frames) - 1}, asked for {wrong[0]}")
    crop = square_crop(*scene.depth_size, size)
    rows, cols = nearest_rows_cols(*scene.depth_size, size)
    images = np.empty((len(indices), size, size, 3), np.uint8)
    coords = np.empty((len(indices), size, size, 3), np.float32)
    valid = np.empty((len(indices), size, size), bool)
    for at, index in enumerate(indices):
        images[at] = resized_square(load_color(scene, index), crop, size)
        depth = load_depth(scene, index, rows, cols)
        coords[at] = unproject(depth, scene.depth_intrinsics, scene.frames[index].pose, rows, cols)
        valid[at] = depth > 0
    return Views(images, coords, valid, tuple(scene.frames[index].name for index in indices))


def resized_square(picture: Image.Image, crop: Crop, size: int) -> Image.Image:
    """The picture resized as ``crop`` says (bicubic), of which the square of ``size`` pixels is kept.

    What is cut off is not computed where the kept pixels come out equal to the bit all the same (``SHARP``).
    """
    across = _source_edges(picture.width, crop.width, crop.left, size)
    down = _source_edges(picture.height, crop.height, crop.top, size)
    if across and down:
        box = (across[0], down[0], across[1], down[1])
        return picture.resize((size, size), Image.Resampling.BICUBIC, box=box)
    whole = picture.resize((crop.width, crop.height), Image.Resampling.BICUBIC)
    return whole.crop((crop.left, crop.top, crop.left + size, crop.top + size))


def scene_voxels(
    scene: Scene, voxel_size: float = VOXEL_SIZE, *, threads: int = 1, unknown: bool = False
) -> list[np.ndarray]:
    """The voxels (ascending int64 keys) that each frame sees.

    Every pixel is looked at: sensor noise alone puts neighbours into different voxels, so that no thinner grid finds
    the same ones.

    Args:
        scene: whose depth images to read; as many are in memory as there are threads.
        voxel_size: metres.
        threads: frames read at the same time; decoding and arithmetic let go of Python's lock.
        unknown: pixels of unknown depth see the camera's own voxel (quirk Q15); by default they see nothing.

    ValueError: a depth image cannot be decoded, or shows something 100 km away.
    """
    width, height = scene.depth_size
    band = max(1, BAND_PIXELS // width)

    def seen(index: int) -> np.ndarray:
        raw = np.asarray(_decode(scene.frames[index].depth))
        keys = []
        for top in range(0, height, band):
            depth = _metres(scene, raw[top : top + band])
            rows = np.arange(top, top + len(depth))
            points = unproject(depth, scene.depth_intrinsics, scene.frames[index].pose, rows)
            try:
                keys.append(voxel_keys(points, voxel_size, None if unknown else depth > 0))
            except ValueError as error:
                raise ValueError(f"frame {scene.frames[index].name} of {scene.name}: {error}") from error
        return union(keys)

    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(seen, range(len(scene.frames))))


def _source_edges(length: int, resized: int, start: int, size: int) -> tuple[float, float] | None:
    """Where ``size`` pixels from ``start`` on lie in a side of ``length`` that is ``resized``; None: not exactly."""
    if size == resized:
        return 0.0, float(length)
    step = length / resized
    return (start * step, (start + size) * step) if (step * SHARP).is_integer() else None


def _decode(path: Path) -> Image.Image:
    try:
        with Image.open(path) as image:
            image.load()
            return image
    except UNDECODABLE as error:
        raise ValueError(
            f"{path} cannot be decoded ({error}): restore the file, or delete it to drop the frame"
        ) from error
