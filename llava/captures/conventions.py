"""Would a capture make more sense if it were read otherwise? The mistakes that are made with poses, units and cameras.

A turn or move of the whole world changes nothing that is compared here, so that only what is left of each mistake is
tried: the order of a quaternion, say, as it comes out of the rotation matrix.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from scipy.spatial.transform import Rotation

from llava.captures.overlap import Agreement, Geometry, agreement
from llava.geometry.camera import OPENGL_AXES, invert_pose, scale_intrinsics
from llava.types import Scene

AS_READ = "as it was read"
TOO_FAR = 0.05  # metres; sensors and trackers in order disagree by 1 to 3 cm indoors
ROOM_DEPTH = (0.2, 15.0)  # metres, median depth of a plausible indoor capture
BETTER = 1.25  # times the score: less may be chance
CLEARLY = 0.03  # more of the score: two readings that both fit nowhere are no better than each other
UNITS = (1000.0, 4000.0, 5000.0, 10000.0)  # depth units per metre: most sensors, RealSense, TUM RGB-D, RealSense
ODD_UNITS = (0.001, 0.1, 10.0, 1000.0)  # times the one that was taken
ROBOT = np.array([[0.0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 0, 1]])  # in x forward, y left, z up


@dataclass(frozen=True)
class Reading:
    """One way to read a capture, and what would come of it."""

    name: str
    agreement: Agreement


def readings(scene: Scene, seen: Geometry) -> list[Reading]:
    """How well the frames of ``scene`` agree when they are read as they were (first) and otherwise.

    Tried are poses, camera axes, quaternion orders, units and intrinsics, each alone; where nothing fits so far, the
    poses and the units together.

    Args:
        scene: as it was read.
        seen: its frames, in any resolution.
    """
    if not seen.depths.any():
        return [Reading(AS_READ, agreement(seen))]
    seen = replace(seen, poses=invert_pose(scene.align) @ seen.poses)  # the file's own: quaternions change in a turn
    poses = list(_poses(seen))
    units = list(_units(seen, scene.depth_scale))
    found = [Reading(AS_READ, agreement(seen))]
    found += [Reading(name, agreement(changed)) for name, changed in [*poses, *units, *_intrinsics(seen, scene)]]
    best = (better(found) or found[0]).agreement.error
    if best is None or best > TOO_FAR:
        found += [
            Reading(f"{name}, and {unit}", agreement(changed))
            for name, turned in poses
            for unit, changed in _units(turned, scene.depth_scale)
        ]
    return found


def better(found: list[Reading]) -> Reading | None:
    """The reading that fits best, if it fits clearly better than the first one, which is how the capture was read."""
    best = max(found, key=lambda reading: reading.agreement.score)
    now = found[0].agreement.score
    clearly = best.agreement.score > max(BETTER * now, now + CLEARLY)
    return best if clearly and best.agreement.error is not None else None


def _poses(seen: Geometry) -> Iterator[tuple[str, Geometry]]:
    inverse = invert_pose(seen.poses)
    yield "poses are world-to-camera", replace(seen, poses=inverse)
    yield "camera axes are OpenGL's (y up, z backward)", replace(seen, poses=seen.poses @ OPENGL_AXES)
    yield "poses are world-to-camera, camera axes OpenGL's", replace(seen, poses=inverse @ OPENGL_AXES)
    yield "camera axes are a robot's (x forward, y left, z up)", replace(seen, poses=seen.poses @ ROBOT)
    quaternions = Rotation.from_matrix(seen.poses[:, :3, :3]).as_quat()
    # A file's (w, x, y, z) that was taken for (x, y, z, w), and the reverse.
    for shift, order in ((-1, "w first"), (1, "w last")):
        poses = seen.poses.copy()
        poses[:, :3, :3] = Rotation.from_quat(np.roll(quaternions, shift, axis=1)).as_matrix()
        yield f"quaternions have {order}", replace(seen, poses=poses)


def _units(seen: Geometry, depth_scale: float) -> Iterator[tuple[str, Geometry]]:
    """Other units, as far as they make a room: the same frames agree as well in a world of any size."""
    middle = float(np.median(seen.depths[seen.depths > 0]))
    for scale in sorted({*UNITS, *(depth_scale * factor for factor in ODD_UNITS)} - {depth_scale}):
        factor = depth_scale / scale
        if ROOM_DEPTH[0] < middle * factor < ROOM_DEPTH[1]:
            name = f"a metre is {scale:g} depth units, not {depth_scale:g} (--depth-units)"
            yield name, replace(seen, depths=seen.depths * np.float32(factor))
    if ROOM_DEPTH[0] < middle < ROOM_DEPTH[1]:
        for unit, factor in (("millimetres", 0.001), ("centimetres", 0.01)):
            poses = seen.poses.copy()
            poses[:, :3, 3] *= factor
            yield f"poses are in {unit}", replace(seen, poses=poses)


def _intrinsics(seen: Geometry, scene: Scene) -> Iterator[tuple[str, Geometry]]:
    width = seen.depths.shape[2]
    own = scale_intrinsics(scene.color_intrinsics, scene.color_size, (width, seen.depths.shape[1]))
    if not np.allclose(own, seen.intrinsics, rtol=0.01):
        yield "depth is registered to the colour camera and has its intrinsics", replace(seen, intrinsics=own)
    swapped = scale_intrinsics(scene.color_intrinsics, (scene.depth_size[0],) * 2, (width,) * 2)
    if not np.allclose(swapped, seen.intrinsics, rtol=0.01) and not np.allclose(swapped, own, rtol=0.01):
        yield "colour and depth intrinsics are swapped", replace(seen, intrinsics=swapped)
    for name, factor in (("twice", 0.5), ("half", 2.0)):
        scaled = scale_intrinsics(seen.intrinsics, (1, 1), (factor, factor))
        yield f"intrinsics are for images of {name} the size", replace(seen, intrinsics=scaled)
