"""What is wrong with a capture: ``llava scene check`` and ``info`` say it before anyone wonders about wrong answers.

The readers see only what can be told from headers; here every image looked at is decoded, and depth and poses
are held against each other: the same place must lie at the same depth in overlapping frames.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from llava.captures.conventions import ROOM_DEPTH, TOO_FAR, Reading, better, readings
from llava.captures.overlap import Agreement, Geometry, thinned, thinned_intrinsics
from llava.captures.pixels import load_color, load_depth, scene_voxels, some_frames
from llava.captures.telling import COUNTS, length, view
from llava.captures.upright import SURE, Floor, find_floor
from llava.geometry.camera import unproject
from llava.geometry.voxels import max_coverage, union
from llava.types import Dropped, Scene

MOST_FRAMES = 200  # looked at, evenly spread over the capture
GRID_ROWS = 60  # depth rows from which extent and depth range are told

FEW_PAIRS = 3  # below this, what is hidden in one of the frames may decide the median
TOO_FEW_PIXELS = 0.3  # share of measured depth
NO_PIXELS = 0.05  # share of measured depth that nothing can be made of
TOO_MANY_DROPPED = 0.1  # share of frames
MOST_DROPPED = 0.5  # share of frames without which it is another capture
TOO_UNLIKE_VIEWS = 0.08  # relative difference of the two cameras' fields of view
NOT_LEVEL = -0.3  # mean height of the end of the cameras' "down" axes, -1 for level ones
TILTED = 5.0  # degrees between the floor and what is said to be level


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
    readings: list[Reading]  # how well depth, poses and intrinsics agree as they were read (first), and otherwise
    floor: Floor | None
    voxels: list[np.ndarray]  # that each frame sees
    coverage: np.ndarray  # (n,) share of all voxels that the best choice of 1, 2 ... n frames sees
    faults: tuple[str, ...] = ()  # why it should not be used
    warnings: tuple[str, ...] = ()

    @property
    def overlap(self) -> Agreement:
        """How well the frames agree."""
        return self.readings[0].agreement

    @property
    def usable(self) -> bool:
        """No fault: overlapping frames agree to 5 cm and no other reading fits clearly better (where frames overlap),
        depth is there and of a room's size, and not most of the frames were lost."""
        return not self.faults

    @property
    def tilt(self) -> float | None:
        """Degrees between the floor and level; None: no clear floor."""
        if self.floor is None or self.floor.confidence < SURE:
            return None
        return float(np.degrees(np.arccos(np.clip(self.floor.up[2], -1, 1))))


def check(scene: Scene) -> Check:
    """Decode the frames of ``scene`` (at most ``MOST_FRAMES``) and hold them against each other.

    ValueError: not one frame can be decoded.
    """
    captured = len(scene.frames) + len(scene.dropped)
    scene, looked_at, seen = _decoded(scene)
    depths, points = _measured(seen)
    voxels = scene_voxels(scene, threads=os.cpu_count() or 1)
    gains = max_coverage(voxels, max(COUNTS))[1]
    centres = np.stack([frame.pose[:3, 3] for frame in scene.frames])
    known = depths > 0
    found = Check(
        scene=scene,
        captured=captured,
        looked_at=looked_at,
        depth_range=tuple(np.percentile(depths[known], (1, 50, 99)).tolist()) if known.any() else (0.0, 0.0, 0.0),
        valid_share=float(known.mean()),
        low=np.percentile(points, 1, axis=0),
        high=np.percentile(points, 99, axis=0),
        path_length=float(np.linalg.norm(np.diff(centres, axis=0), axis=1).sum()),
        readings=readings(scene, seen),
        floor=find_floor(scene),
        voxels=voxels,
        coverage=np.cumsum(gains) / max(1, len(union(voxels))),
    )
    return replace(found, faults=tuple(_faults(found)), warnings=tuple(_warnings(found)))


def _decoded(scene: Scene) -> tuple[Scene, int, Geometry]:
    """The scene with those frames, at most ``MOST_FRAMES``, whose images decode; how many were tried; what they saw."""
    tried = some_frames(scene, MOST_FRAMES)
    frames, depths, dropped = [], [], list(scene.dropped)
    step = 1
    for index in tried:
        try:
            load_color(scene, index)
            depth, step = thinned(load_depth(scene, index))
            depths.append(depth.copy())
            frames.append(scene.frames[index])
        except ValueError as error:
            dropped.append(Dropped(scene.frames[index].name, str(error)))
    if not frames:
        raise ValueError(f"no image of scene {scene.name} can be decoded; the first: {dropped[-1].reason}")
    poses = np.stack([frame.pose for frame in frames])
    seen = Geometry(np.stack(depths), thinned_intrinsics(scene.depth_intrinsics, step), poses)
    return replace(scene, frames=tuple(frames), dropped=tuple(dropped)), len(tried), seen


def _measured(seen: Geometry) -> tuple[np.ndarray, np.ndarray]:
    """Depths (n, h, w) of a coarse grid, and the world points (p, 3) of those known; one at 0 where there is none."""
    step = max(1, seen.depths.shape[1] // GRID_ROWS)
    depths = seen.depths[:, ::step, ::step]
    rows, cols = np.arange(0, seen.depths.shape[1], step), np.arange(0, seen.depths.shape[2], step)
    clouds = [
        unproject(depth, seen.intrinsics, pose, rows, cols)[depth > 0]
        for depth, pose in zip(depths, seen.poses, strict=True)
    ]
    points = np.concatenate(clouds)
    return depths, points if len(points) else np.zeros((1, 3))


def _faults(found: Check) -> Iterator[str]:
    """Why the capture should not be used as it is read."""
    scene, error = found.scene, found.overlap.error
    other = better(found.readings)
    if other is not None:
        now = "no frames overlap" if error is None else f"overlapping frames disagree by {length(error)}"
        yield f"{now}, but only by {length(other.agreement.error)} if {other.name}: the capture is read wrongly"
    elif error is not None and found.overlap.pairs >= FEW_PAIRS and error > TOO_FAR:
        yield (
            f"overlapping frames disagree by {length(error)}, and no other reading is better: the poses drift or "
            "belong to other frames, or the intrinsics or the depth are wrong"
        )
    if found.valid_share < NO_PIXELS:
        yield f"only {found.valid_share:.0%} of the pixels have depth: nothing can be placed"
    elif other is None and not ROOM_DEPTH[0] < found.depth_range[1] < ROOM_DEPTH[1]:
        yield f"the median depth is {found.depth_range[1]:.4g} m: is a metre {scene.depth_scale:g} depth units?"
    if _lost(found) > MOST_DROPPED:
        yield f"{len(scene.dropped)} of {found.captured} frames were dropped, see the reasons above"


def _warnings(found: Check) -> Iterator[str]:
    """What may explain wrong answers."""
    scene, share = found.scene, found.valid_share
    yield from scene.doubts
    if TOO_MANY_DROPPED < _lost(found) <= MOST_DROPPED:
        yield f"{len(scene.dropped)} frames were dropped, see the reasons above"
    if NO_PIXELS <= share < TOO_FEW_PIXELS:
        yield f"only {share:.0%} of the pixels have depth: positions will be unknown in many patches"
    if found.overlap.error is None:
        yield "no two frames see enough of the same place: depth and poses were not compared"
    if found.tilt is not None and found.tilt > TILTED:
        who = f"from what {scene.up} says" if scene.up else "off the world's z axis"
        how = "with --up X Y Z" if scene.up else "(`llava import CAPTURE OUT`)"
        sure = f"(confidence {found.floor.confidence:.2f})"
        yield f"up is {found.tilt:.0f} degrees {who} by the floor {sure}: importing the capture {how} turns it"
    elif np.mean([frame.pose[2, 1] for frame in scene.frames]) > NOT_LEVEL:
        yield "the cameras are not upright in this world: is its z axis up?"
    color, depth = (
        view(k, size)
        for k, size in ((scene.color_intrinsics, scene.color_size), (scene.depth_intrinsics, scene.depth_size))
    )
    if np.abs(color / depth - 1).max() > TOO_UNLIKE_VIEWS:
        yield "colour and depth cameras see fields of different size, but are laid over each other"


def _lost(found: Check) -> float:
    """Share of the frames that cannot be used; of those looked at where that is more."""
    unreadable = (found.looked_at - len(found.scene.frames)) / found.looked_at
    return max(len(found.scene.dropped) / found.captured, unreadable)
