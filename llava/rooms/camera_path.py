"""A hand-held walk through a room that looks at all of its furniture."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from llava.rooms.mesh import room_mesh
from llava.rooms.render import FOV, camera_rays, cast, raycaster
from llava.rooms.room import Room
from llava.rooms.walkable import FreeFloor, walkable

_KEYS = 16  # viewpoints that are chosen to cover the room; longer walks pass through them
_CANDIDATES = 160
_PROBE = (32, 24)  # rays of a trial view
_PLENTY = 24  # probe rays on an object after which more are worth nothing (about 900 pixels at 192 x 144)


def camera_path(room: Room, frames: int, rng: np.random.Generator) -> np.ndarray:
    """Camera-to-world poses (frames, 4, 4) float64 in the room's world: OpenCV axes, eye height 1.2 to 1.7 m.

    Up to 16 frames are the viewpoints themselves, in the order of a short walk; more frames walk between them.
    Raises ValueError for fewer than one frame.
    """
    if frames < 1:
        raise ValueError(f"expected at least 1 frame, found {frames}")
    floor = walkable(room.extent, room.items)
    eyes, angles = _trial_views(room, floor, rng)
    keys = _choose(room, eyes, angles, min(frames, _KEYS))
    keys = keys[_walk_order(eyes[keys], angles[keys])]
    eyes, angles = _walk(floor, eyes[keys], angles[keys], frames)
    jitter = rng.normal(0, 1, (frames, 3)) * np.radians([1.5, 2.0, 2.5])
    sway = rng.normal(0, 0.012, (frames, 3))
    return np.stack(
        [look(eye + s, *(a + j[:2]), j[2]) for eye, a, j, s in zip(eyes, angles, jitter, sway, strict=True)]
    )


def look(eye: np.ndarray, heading: float, pitch: float, roll: float = 0.0) -> np.ndarray:
    """Pose (4, 4) of a camera at `eye`: heading in radians from +x towards +y, pitch upwards, roll clockwise."""
    ch, sh, cp, sp = np.cos(heading), np.sin(heading), np.cos(pitch), np.sin(pitch)
    forward = np.array([ch * cp, sh * cp, sp])
    right = np.array([sh, -ch, 0.0])
    down = np.cross(forward, right)
    pose = np.eye(4)
    pose[:3, 0] = np.cos(roll) * right + np.sin(roll) * down
    pose[:3, 1] = -np.sin(roll) * right + np.cos(roll) * down
    pose[:3, 2], pose[:3, 3] = forward, eye
    return pose


def _trial_views(room: Room, floor: FreeFloor, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Eyes (n, 3) on the free floor and angles (n, 2: heading, pitch) towards furniture 1.2 m or more away."""
    rows, columns = np.nonzero(floor.free)
    things = np.array([i.box[:3] for i in room.items if not i.shell])
    eyes, angles = [], []
    while len(eyes) < _CANDIDATES:
        k = int(rng.integers(len(rows)))
        eye = np.array([floor.xs[columns[k]], floor.ys[rows[k]], rng.uniform(1.2, 1.7)])
        far = np.linalg.norm(things[:, :2] - eye[:2], axis=1)
        worth = np.flatnonzero(far > min(1.2, far.max() - 1e-6))
        target = things[worth[int(rng.integers(len(worth)))]] - eye
        heading = np.arctan2(target[1], target[0]) + rng.normal(0, 0.12)
        steep = np.arctan2(target[2], np.hypot(target[0], target[1]))
        pitch = np.clip(0.6 * steep + 0.4 * np.radians(-20) + rng.normal(0, 0.05), np.radians(-42), np.radians(4))
        eyes.append(eye)
        angles.append((heading, pitch))
    return np.array(eyes), np.array(angles)


def _choose(room: Room, eyes: np.ndarray, angles: np.ndarray, count: int) -> np.ndarray:
    """Indices (count,) of views that together see every object, greedily; ties go to the earlier view."""
    mesh = room_mesh(room)
    scene = raycaster(mesh)
    rays = camera_rays(_PROBE, FOV)
    objects = np.array([not i.shell for i in room.items])
    seen = np.zeros((len(eyes), len(room.items)))
    near = np.zeros(len(eyes))
    for v, (eye, angle) in enumerate(zip(eyes, angles, strict=True)):
        hit = cast(scene, rays, look(eye, *angle))
        seen[v] = np.bincount(
            mesh.face_item[np.minimum(hit["primitive_ids"], len(mesh.faces) - 1)], minlength=len(objects)
        )
        near[v] = (hit["t_hit"] < 0.7).mean() + (np.median(hit["t_hit"]) < 1.3)
    seen = np.minimum(seen[:, objects], _PLENTY)
    chosen: list[int] = []
    best, total = np.zeros(seen.shape[1]), np.zeros(seen.shape[1])
    for _ in range(count):
        gain = (np.sqrt(np.maximum(seen, best)) - np.sqrt(best)).sum(1) * 4  # a good view of each, first of all
        gain += (np.sqrt(total + seen) - np.sqrt(total)).sum(1) * 0.5  # then more views of each
        gain -= 6 * near
        gain[chosen] = -np.inf
        k = int(np.argmax(gain))
        chosen.append(k)
        best, total = np.maximum(best, seen[k]), total + seen[k]
    return np.array(chosen)


def _walk_order(eyes: np.ndarray, angles: np.ndarray) -> np.ndarray:
    """A short walk over all viewpoints: nearest next, a turn of 90 degrees counting as a metre."""
    left = list(range(1, len(eyes)))
    order = [0]
    while left:
        here = order[-1]
        turn = np.abs(np.angle(np.exp(1j * (angles[left, 0] - angles[here, 0]))))
        cost = np.linalg.norm(eyes[left] - eyes[here], axis=1) + turn / (np.pi / 2)
        order.append(left.pop(int(np.argmin(cost))))
    return np.array(order)


def _walk(floor: FreeFloor, eyes: np.ndarray, angles: np.ndarray, frames: int) -> tuple[np.ndarray, np.ndarray]:
    """`frames` eyes and angles along the way through all viewpoints, around the furniture."""
    if frames <= len(eyes):
        return eyes[:frames], angles[:frames]
    when = np.linspace(0, len(eyes) - 1, frames)
    turns = np.stack([np.unwrap(angles[:, 0]), angles[:, 1]], 1)
    out_eyes, out_angles = np.empty((frames, 3)), np.empty((frames, 2))
    legs = [_leg(floor, a, b) for a, b in pairwise(eyes)]
    for f, t in enumerate(when):
        k = min(int(t), len(legs) - 1)
        s = t - k
        out_eyes[f] = _along(legs[k], s)
        ease = s * s * (3 - 2 * s)
        out_angles[f] = turns[k] * (1 - ease) + turns[k + 1] * ease
    return out_eyes, out_angles


def _leg(floor: FreeFloor, start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Way points (n, 3) from viewpoint to viewpoint over free floor."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import dijkstra

    rows, columns = floor.free.shape
    cell = np.arange(rows * columns).reshape(rows, columns)
    links = []
    for dr, dc in ((0, 1), (1, 0), (1, 1), (1, -1)):
        a = (slice(0, rows - dr), slice(max(0, -dc), columns - max(0, dc)))
        b = (slice(dr, rows), slice(max(0, dc), columns + min(0, dc)))
        both = floor.free[a] & floor.free[b]
        links.append(np.stack([cell[a][both], cell[b][both], np.full(both.sum(), np.hypot(dr, dc))], 1))
    i, j, length = np.concatenate(links).T
    graph = coo_matrix((length, (i.astype(int), j.astype(int))), shape=(cell.size, cell.size)).tocsr()
    at = [int(np.abs(floor.ys - p[1]).argmin() * columns + np.abs(floor.xs - p[0]).argmin()) for p in (start, end)]
    _, before = dijkstra(graph, directed=False, indices=at[0], return_predecessors=True)
    way = [at[1]]
    while before[way[-1]] >= 0:
        way.append(int(before[way[-1]]))
    way = np.array(way[::-1])
    xy = np.stack([floor.xs[way % columns], floor.ys[way // columns]], 1)
    z = np.linspace(start[2], end[2], len(xy))
    return np.concatenate([np.c_[xy, z], end[None]]) if len(xy) > 1 else np.stack([start, end])


def _along(way: np.ndarray, share: float) -> np.ndarray:
    """The point at `share` of the length of a way (n, 3)."""
    steps = np.linalg.norm(np.diff(way, axis=0), axis=1)
    length = np.concatenate([[0], np.cumsum(steps)])
    return np.array([np.interp(share * length[-1], length, way[:, k]) for k in range(3)])
