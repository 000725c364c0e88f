"""What is drawn beside the points, as plain arrays: edges of boxes, the camera's path, position-encoding cells."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from llava.captures.pixels import some_frames
from llava.geometry.boxes import corners

if TYPE_CHECKING:
    from llava.model.positions import Positions
    from llava.types import Scene

MOST_STOPS = 1000  # points of the camera's path
EYE = np.array([-0.62, -0.9, 0.95])  # from where a scene is first looked at, in units of half its diagonal
CEILING = 0.4  # metres under the highest surface of a room, hidden so that one can look in from above
ROOM_HEIGHT = 1.8  # metres; lower scans (a desk) have no ceiling

CUBE = corners(np.array([0, 0, 0, 1, 1, 1], np.float32))


class Cells(NamedTuple):
    """Voxels of a position encoding."""

    middles: np.ndarray  # (k, 3) float32 metres
    views: np.ndarray  # (k,) the first view that has a patch in it
    side: float  # metres


def path_segments(scene: Scene, most: int = MOST_STOPS) -> np.ndarray:
    """The camera's way from frame to frame as segments (s, 2, 3), metres; of long captures evenly thinned out."""
    stops = np.stack([scene.frames[index].pose[:3, 3] for index in some_frames(scene, most)]).astype(np.float32)
    return np.stack([stops[:-1], stops[1:]], axis=1)


def view_angles(intrinsics: np.ndarray, size: tuple[int, int]) -> tuple[float, float]:
    """Vertical field of view in radians, and width over height, of a camera (3, 3) with pictures of (width, height)."""
    across, down = size[0] / intrinsics[0, 0], size[1] / intrinsics[1, 1]
    return float(2 * np.arctan(down / 2)), float(across / down)


def pictures(poses: np.ndarray, fov: float, aspect: float, scale: float) -> tuple[np.ndarray, float]:
    """Where viser draws the pictures of frusta with these poses (n, 4, 4): middles (n, 3), and half their height.

    Args:
        poses: camera to world.
        fov, aspect: as from ``view_angles``.
        scale: of the frusta; viser gives all of one scale the same volume.
    """
    half = np.tan(fov / 2)
    far = scale / np.cbrt(half * half * aspect / 3)
    return poses[:, :3, 3] + far * poses[:, :3, 2], float(far * half)


def ramp(count: int) -> np.ndarray:
    """Colours (count, 3) uint8 from first to last, told apart by eye."""
    from matplotlib import colormaps

    return np.rint(colormaps["turbo"](np.linspace(0.06, 0.94, count))[:, :3] * 255).astype(np.uint8)


def extent(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest corner, each (3,), of points (p, 3), but for the outermost hundredth on every side."""
    low, high = np.percentile(points, (1, 99), axis=0)
    return low, high


def overview(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where to stand and where to look, each (3,) metres, to see all the points (p, 3) from above."""
    low, high = extent(points)
    middle = (low + high) / 2
    return middle + EYE * np.linalg.norm(high - low) / 2 * 1.4, middle


def ceiling(points: np.ndarray) -> float:
    """Height in metres from which the points (p, 3) hide a room from a viewer above it; infinite: there is no room."""
    low, high = extent(points)
    return float(high[2] - CEILING) if high[2] - low[2] > ROOM_HEIGHT else np.inf


def encoding_cells(coords: np.ndarray, valid: np.ndarray, positions: Positions) -> Cells:
    """The voxels of the position encoding that the patches of some views fall into.

    Args:
        coords: (V, h, w, 3 p) metres, p points a patch.
        valid: (V, h, w) bool.
        positions: the model's encoding.
    """
    import torch

    from llava.model.position_encodings import discretise

    known = np.argwhere(valid)
    points = torch.as_tensor(coords[valid].reshape(-1, 3))
    precision = getattr(torch, positions.precision)
    indices = discretise(points, positions.voxel_size, positions.lo, positions.hi, precision).numpy()
    voxels, first = np.unique(indices, axis=0, return_index=True)
    views = known[first // (coords.shape[-1] // 3), 0]
    middles = (voxels * positions.voxel_size + np.asarray(positions.lo)).astype(np.float32)
    return Cells(middles, views, positions.voxel_size)
