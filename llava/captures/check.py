"""What is wrong with a capture: ``llava scene info`` prints it before anyone wonders about wrong answers.

The readers see only what can be told from headers; here every image looked at is decoded, and depth and poses
are held against each other: the same place must lie at the same depth in overlapping frames.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from llava.captures import open_scene
from llava.captures.pixels import load_color, load_depth, scene_voxels
from llava.geometry.camera import project, unproject
from llava.geometry.voxels import max_coverage, union
from llava.types import Dropped, Scene

MOST_FRAMES = 200  # looked at, evenly spread over the capture
GRID_ROWS = 60  # depth rows compared between frames
MIN_OVERLAP = 0.4  # of a frame's points that its neighbour must see, too, to be compared
COUNTS = (1, 2, 4, 8, 16, 32)  # frames in the coverage table

FEW_PAIRS = 3  # below this, what is hidden in one of the frames may decide the median
TOO_FAR = 0.05  # metres; sensors and trackers in order disagree by 1 to 3 cm indoors
TOO_FEW_PIXELS = 0.3  # share of measured depth
TOO_MANY_DROPPED = 0.1  # share of frames
TOO_UNLIKE_VIEWS = 0.08  # relative difference of the two cameras' fields of view
ROOM_DEPTH = (0.2, 15.0)  # metres, median depth of a plausible indoor capture


@dataclass(frozen=True)
class Check:
    """Findings about one scene; lengths in metres, shares 0..1."""

    scene: Scene  # the frames that decode
    captured: int  # frames in the capture, dropped ones too
    looked_at: int  # frames whose images were tried
    depth_range: tuple[float, float, float]  # 1 %, 50 % and 99 % of the measured depths
    valid_share: float  # pixels with depth
    low: np.ndarray  # (3,) 1 % corner of the points seen, world
    high: np.ndarray  # (3,) 99 % corner
    path_length: float  # the camera's way
    disagreement: float | None  # median |depth difference| of places seen by two frames; None: no frames overlap
    pairs: int  # how many pairs of frames overlap
    coverage: dict[int, float]  # frames -> share of the voxels that their best choice sees
    warnings: tuple[str, ...]


def info(path: str | Path) -> None:
    """Print what ``check`` finds in the capture at ``path``. ValueError: it cannot be opened."""
    print(describe(check(open_scene(path))))


def check(scene: Scene) -> Check:
    """Decode the frames of ``scene`` (at most ``MOST_FRAMES``) and hold them against each other.

    ValueError: not one frame can be decoded.
    """
    captured = len(scene.frames) + len(scene.dropped)
    scene, looked_at = _decodable(scene)
    step = max(1, scene.depth_size[1] // GRID_ROWS)
    grids = [load_depth(scene, index)[::step, ::step] for index in range(len(scene.frames))]
    rows, cols = np.arange(0, scene.depth_size[1], step), np.arange(0, scene.depth_size[0], step)
    clouds = [
        unproject(grid, scene.depth_intrinsics, frame.pose, rows, cols)[grid > 0]
        for grid, frame in zip(grids, scene.frames, strict=True)
    ]
    depths = np.concatenate([grid[grid > 0] for grid in grids])
    points = np.concatenate(clouds) if len(depths) else np.zeros((1, 3))
    voxels = scene_voxels(scene, threads=os.cpu_count() or 1)
    total = max(1, len(union(voxels)))
    seen = np.cumsum(max_coverage(voxels, max(COUNTS))[1]) / total
    pairs = [_difference(scene, clouds[i], i + 1, grids[i + 1], step) for i in range(len(clouds) - 1)]
    differences = [difference for difference in pairs if difference is not None]
    centres = np.stack([frame.pose[:3, 3] for frame in scene.frames])
    found = Check(
        scene=scene,
        captured=captured,
        looked_at=looked_at,
        depth_range=tuple(np.percentile(depths, (1, 50, 99)).tolist()) if len(depths) else (0.0, 0.0, 0.0),
        valid_share=len(depths) / sum(grid.size for grid in grids),
        low=np.percentile(points, 1, axis=0),
        high=np.percentile(points, 99, axis=0),
        path_length=float(np.linalg.norm(np.diff(centres, axis=0), axis=1).sum()),
        disagreement=float(np.median(differences)) if differences else None,
        pairs=len(differences),
        coverage={count: float(seen[count - 1]) for count in COUNTS if count <= len(seen)},
        warnings=(),
    )
    return replace(found, warnings=tuple(_warnings(found)))


def describe(found: Check) -> str:
    """The findings as a text of one line a fact."""
    scene = found.scene
    dropped = len(scene.dropped)
    frames = f"{found.captured - dropped} usable of {found.captured}, {dropped} dropped"
    if len(scene.frames) < found.captured - dropped:
        frames += f"; the images of {found.looked_at} were looked at"
    lines = [("scene", scene.name), ("frames", frames)]
    lines += [("", f"dropped {drop.name}: {drop.reason}") for drop in scene.dropped[:10]]
    if dropped > 10:
        lines.append(("", f"... and {dropped - 10} more"))
    near, middle, far = found.depth_range
    sides = found.high - found.low
    lines += [
        ("colour", f"{_size(scene.color_size)}, {_view_text(scene.color_intrinsics, scene.color_size)}"),
        ("depth", f"{_size(scene.depth_size)}, {_view_text(scene.depth_intrinsics, scene.depth_size)}"),
        ("", f"{near:.2f} m (1 %), {middle:.2f} m (median), {far:.2f} m (99 %); {found.valid_share:.0%} measured"),
        ("world", _align_text(scene.align)),
        ("extent", f"{sides[0]:.1f} x {sides[1]:.1f} x {sides[2]:.1f} m, z from {found.low[2]:.2f} m"),
        ("camera", f"moves {found.path_length:.1f} m"),
    ]
    if found.disagreement is None:
        lines.append(("overlap", "no neighbouring frames see the same place: depth and poses were not compared"))
    else:
        lines.append(
            (
                "overlap",
                f"a place seen twice differs by {found.disagreement * 100:.1f} cm (median, {found.pairs} pairs)",
            )
        )
    shares = ", ".join(f"{count}: {share:.0%}" for count, share in found.coverage.items())
    lines.append(("coverage", f"seen by the best n frames: {shares}"))
    lines += [("warning", warning) for warning in found.warnings]
    return "\n".join(f"{label:<10}{text}" for label, text in lines)


def _decodable(scene: Scene) -> tuple[Scene, int]:
    """The scene with those frames, at most ``MOST_FRAMES``, whose images decode; and how many were tried."""
    tried = np.unique(np.linspace(0, len(scene.frames) - 1, min(len(scene.frames), MOST_FRAMES), dtype=int)).tolist()
    frames, dropped = [], list(scene.dropped)
    for index in tried:
        try:
            load_color(scene, index)
            load_depth(scene, index)
            frames.append(scene.frames[index])
        except ValueError as error:
            dropped.append(Dropped(scene.frames[index].name, str(error)))
    if not frames:
        raise ValueError(f"no image of scene {scene.name} can be decoded; the first: {dropped[-1].reason}")
    return replace(scene, frames=tuple(frames), dropped=tuple(dropped)), len(tried)


def _difference(scene: Scene, points: np.ndarray, index: int, grid: np.ndarray, step: int) -> float | None:
    """Median |depth difference| (metres) between world points and frame ``index``, where it sees them.

    Points hidden from the second frame differ much; the median over a pair of neighbours outvotes them.
    """
    if len(points) == 0:
        return None
    uv, z = project(points, scene.depth_intrinsics, scene.frames[index].pose)
    front = z > 0
    at = np.rint(uv[front] / step).astype(int)
    inside = np.all((at >= 0) & (at < (grid.shape[1], grid.shape[0])), axis=1)
    depth = grid[at[inside, 1], at[inside, 0]]
    known = depth > 0
    if known.sum() < MIN_OVERLAP * len(points):
        return None
    return float(np.median(np.abs(z[front][inside][known] - depth[known])))


def _warnings(found: Check) -> list[str]:
    scene, warnings = found.scene, list(found.scene.doubts)
    unreadable = found.looked_at - len(scene.frames)
    if len(scene.dropped) > TOO_MANY_DROPPED * found.captured or unreadable > TOO_MANY_DROPPED * found.looked_at:
        warnings.append(f"{len(scene.dropped)} frames were dropped, see the reasons above")
    if found.valid_share < TOO_FEW_PIXELS:
        warnings.append(
            f"only {found.valid_share:.0%} of the pixels have depth: positions will be unknown in many patches"
        )
    if found.valid_share and not ROOM_DEPTH[0] < found.depth_range[1] < ROOM_DEPTH[1]:
        warnings.append(
            f"the median depth is {found.depth_range[1]:.2f} m: is a metre {scene.depth_scale:g} depth units?"
        )
    if found.disagreement is not None and found.pairs >= FEW_PAIRS and found.disagreement > TOO_FAR:
        warnings.append(
            f"overlapping frames disagree by {found.disagreement * 100:.0f} cm: poses may be world-to-camera, drift, "
            "belong to other frames, or the intrinsics or the depth scale may be wrong"
        )
    up = np.mean([frame.pose[2, 1] for frame in scene.frames])  # of the cameras' "down" axis
    if up > -0.3:
        warnings.append("the cameras are not upright in this world: is its z axis up?")
    color, depth = (_view(k, size) for k, size in _cameras(scene))
    if np.abs(color / depth - 1).max() > TOO_UNLIKE_VIEWS:
        warnings.append("colour and depth cameras see fields of different size, but are laid over each other")
    return warnings


def _cameras(scene: Scene) -> list[tuple[np.ndarray, tuple[int, int]]]:
    return [(scene.color_intrinsics, scene.color_size), (scene.depth_intrinsics, scene.depth_size)]


def _view(k: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Width and height that the camera sees at a distance of one."""
    return np.array([size[0] / k[0, 0], size[1] / k[1, 1]])


def _view_text(k: np.ndarray, size: tuple[int, int]) -> str:
    across, down = np.degrees(2 * np.arctan(_view(k, size) / 2))
    return f"field of view {across:.0f} x {down:.0f} degrees"


def _size(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"


def _align_text(align: np.ndarray) -> str:
    if np.array_equal(align, np.eye(4)):
        return "as captured"
    angle = np.degrees(np.arccos(np.clip((np.trace(align[:3, :3]) - 1) / 2, -1, 1)))
    moved = np.linalg.norm(align[:3, 3])
    return f"turned by {angle:.1f} degrees and moved by {moved:.2f} m from the captured one"
