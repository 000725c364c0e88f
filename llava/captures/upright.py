"""Which way is up, where the capture does not say: the floor shows it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from llava.captures import NO_GRAVITY
from llava.captures.surface import Surface, surface
from llava.geometry.camera import gravity_turn, invert_pose
from llava.types import Scene

CELL = 0.05  # metres; surface is counted by area, because what is near the camera has many more pixels
MOST_CELLS = 40_000  # 100 square metres
PATCH = 0.25  # metres, side of the cells whose mean normals propose planes
FLAT = 0.9  # length of a patch's mean normal from which it proposes a plane
FILLED = 4  # cells of surface that a patch must have
MOST_PATCHES = 200  # that propose, evenly spread
THICK = 0.04  # metres around a plane that are its own
ALONG = 0.85  # cosine of a point's normal with that of the plane it lies in
MOST_PLANES = 8
LEAST_AREA = 0.2  # square metres of a plane that is looked at
REFITS = 4  # least-squares fits of a plane to its own points

SURE = 0.5  # confidence from which the floor decides
OTHER = np.cos(np.radians(15))  # planes less parallel than that contradict each other
FLOOR_AREA = 1.5  # square metres; a floor of so many is believed to 63 %
BELOW = 0.06  # metres under a plane that noise may put a point
# (doubtful, good): what lies between the two is believed in proportion.
LEVEL_CAMERA = (0.4, 0.8)  # mean cosine of the plane's normal with the cameras' up axes
CAMERA_HEIGHT = (0.1, 0.8)  # metres above the plane, median
ONE_SIDED = (0.85, 0.97)  # share of the surface on the cameras' side of the plane

AMBIGUOUS = (
    "nothing says which way is up, and no floor shows it clearly (confidence {:.2f}, {:.2f} is needed): z is taken to "
    "be up; if it is not, heights and floors are wrong: `llava import CAPTURE OUT --up X Y Z` tells where up is in the "
    "capture's own world"
)
GUESS = " (the likeliest floor says --up {:.3f} {:.3f} {:.3f})"


@dataclass(frozen=True)
class Floor:
    """The plane that is most likely the floor."""

    up: np.ndarray  # (3,) its unit normal, towards the cameras
    height: float  # metres; points p of it have up . p = height
    confidence: float  # 0..1; below SURE it should not decide


def upright(scene: Scene, up: Sequence[float] | None = None) -> Scene:
    """The same scene in a world whose z axis is up; ``Scene.align`` holds the turn, ``Scene.up`` who asked for it.

    A scene that knows its up is left alone, unless ``up`` says otherwise. Else the floor decides (``find_floor``);
    where it is not clear enough the world stays as it was, and ``Scene.doubts`` says so, with the likeliest ``--up``.

    Args:
        scene: any scene.
        up: where up is in the capture's own world (before ``Scene.align``), of any length.

    ValueError: ``up`` is no direction, or a depth image cannot be decoded.
    """
    if up is not None:
        return _turned(scene, scene.align[:3, :3] @ direction(up), "--up")
    if scene.up is not None:
        return scene
    floor = find_floor(scene)
    if floor is not None and floor.confidence >= SURE:
        return _turned(scene, floor.up, f"the floor, confidence {floor.confidence:.2f}")
    doubt = AMBIGUOUS.format(floor.confidence if floor else 0.0, SURE)
    if floor is not None and floor.confidence > 0:
        doubt += GUESS.format(*(invert_pose(scene.align)[:3, :3] @ floor.up))
    return replace(scene, doubts=(*_other_doubts(scene), doubt))


def find_floor(scene: Scene) -> Floor | None:
    """The plane that is most likely the floor, in the scene's present world; None: no plane at all.

    Planes are taken off the measured surface one after another, the largest first (RANSAC, Fischler and Bolles 1981,
    with hypotheses from the normals of small patches, and least squares over the plane's own points). A floor is
    large, lies below the cameras, which are held level on average, and has everything else on its upper side: each
    cue gives 0..1, their product is how good a floor the plane would be. The confidence is that of the best one,
    less where another plane of another direction is nearly as good.

    ValueError: a depth image cannot be decoded.
    """
    seen, cell_area = _by_area(surface(scene))
    planes = _planes(seen, cell_area)
    if not planes:
        return None
    poses = np.stack([frame.pose for frame in scene.frames])
    quality = np.array([_quality(plane, area, seen, poses) for plane, area in planes])
    best = int(np.argmax(quality))
    normal = planes[best][0][:3]
    rivals = [q for (plane, _), q in zip(planes, quality, strict=True) if plane[:3] @ normal < OTHER]
    most = float(quality[best])
    confidence = most * most / (most + max(rivals, default=0.0)) if most else 0.0
    return Floor(up=normal, height=float(planes[best][0][3]), confidence=confidence)


def _quality(plane: np.ndarray, area: float, seen: Surface, poses: np.ndarray) -> float:
    """How good a floor the plane (4,) would be, 0..1."""
    normal, height = plane[:3], plane[3]
    level = -np.mean(poses[:, :3, 1] @ normal)
    camera = np.median(poses[:, :3, 3] @ normal) - height
    above = np.mean(seen.points @ normal > height - BELOW)
    cues = [_ramp(level, LEVEL_CAMERA), _ramp(camera, CAMERA_HEIGHT), _ramp(above, ONE_SIDED)]
    return float(np.prod(cues) * (1 - np.exp(-area / FLOOR_AREA)))


def _ramp(value: float, ends: tuple[float, float]) -> float:
    return float(np.clip((value - ends[0]) / (ends[1] - ends[0]), 0, 1))


def _by_area(found: Surface) -> tuple[Surface, float]:
    """One point and unit normal a cell of the surface: its mean there; and the square metres that each stands for."""
    cells, _ = _means(found, CELL, least=0.5)
    every = -(-len(cells.points) // MOST_CELLS) or 1
    return Surface(cells.points[::every], cells.normals[::every]), every * CELL**2


def _means(found: Surface, cell: float, least: float) -> tuple[Surface, np.ndarray]:
    """Mean point and unit mean normal of each cell of ``cell`` metres whose mean normal is ``least`` long; and how many
    points (p,) there were."""
    keys = np.floor(found.points / cell).astype(np.int64)
    _, member, counts = np.unique(keys, axis=0, return_inverse=True, return_counts=True)
    sums = np.zeros((2, len(counts), 3))
    np.add.at(sums, (0, member.ravel()), found.points)
    np.add.at(sums, (1, member.ravel()), found.normals)
    points, normals = sums / counts[:, None]
    length = np.linalg.norm(normals, axis=1)
    flat = length >= least
    return Surface(points[flat], normals[flat] / length[flat][:, None]), counts[flat]


def _planes(seen: Surface, cell_area: float) -> list[tuple[np.ndarray, float]]:
    """Planes (normal, height), largest first, each with its area in square metres."""
    planes = []
    left = seen
    while len(planes) < MOST_PLANES:
        patches, filled = _means(left, PATCH, FLAT)
        proposed = [
            np.append(patches.normals[index], patches.normals[index] @ patches.points[index])
            for index in _spread(np.flatnonzero(filled * cell_area >= FILLED * CELL**2), MOST_PATCHES)
        ]
        if not proposed:
            break
        plane = max(proposed, key=lambda plane: np.count_nonzero(_own(left, plane)))
        for _ in range(REFITS):
            own = _own(left, plane)
            if np.count_nonzero(own) < FILLED:
                break
            plane = _fit(left.points[own], plane[:3])
        own = _own(left, plane)
        area = float(np.count_nonzero(own) * cell_area)
        if area < LEAST_AREA:
            break
        planes.append((plane, area))
        left = Surface(left.points[~own], left.normals[~own])
    return planes


def _spread(items: np.ndarray, most: int) -> np.ndarray:
    """At most so many of the items (n,), evenly spread."""
    return items[np.unique(np.linspace(0, len(items) - 1, min(len(items), most), dtype=int))] if len(items) else items


def _own(seen: Surface, plane: np.ndarray) -> np.ndarray:
    """Which points (p,) lie in the plane (4,) and face as it does."""
    near = np.abs(seen.points @ plane[:3] - plane[3]) < THICK
    return near & (seen.normals @ plane[:3] > ALONG)


def _fit(points: np.ndarray, facing: np.ndarray) -> np.ndarray:
    """The least-squares plane (4,) of points (p, 3), its normal on the side of ``facing``."""
    middle = points.mean(axis=0)
    normal = np.linalg.svd((points - middle).T @ (points - middle))[0][:, 2]
    normal = normal if normal @ facing > 0 else -normal
    return np.append(normal, normal @ middle)


def _turned(scene: Scene, up: np.ndarray, who: str) -> Scene:
    change = gravity_turn(-up)
    frames = tuple(replace(frame, pose=change @ frame.pose) for frame in scene.frames)
    return replace(scene, frames=frames, align=change @ scene.align, up=who, doubts=_other_doubts(scene))


def _other_doubts(scene: Scene) -> tuple[str, ...]:
    about_up = (NO_GRAVITY, AMBIGUOUS.split(" (")[0])
    return tuple(doubt for doubt in scene.doubts if not doubt.startswith(about_up))


def direction(up: Sequence[float]) -> np.ndarray:
    """The unit vector (3,) that somebody told. ValueError: it is no direction."""
    given = np.asarray(up, np.float64)
    if given.shape != (3,) or not np.isfinite(given).all() or np.linalg.norm(given) < 1e-6:
        raise ValueError(f"--up: expected 3 finite numbers that are not all zero, such as 0 -1 0, found {list(up)}")
    return given / np.linalg.norm(given)
