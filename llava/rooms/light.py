"""Light, computed once a room and kept at the mesh's vertices: ceiling lamps, windows, and what corners swallow."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from llava.rooms.mesh import Mesh
from llava.rooms.room import Room

if TYPE_CHECKING:
    import open3d as o3d

_SKY_RAYS = 10  # a vertex
_REACH = 1.0  # metres within which surfaces darken each other
_LIFT = 0.012  # metres a ray starts off its surface
_INSET = 0.06  # share by which a vertex's ray starts towards the middle of its face: joints would be black otherwise


def bake(room: Room, mesh: Mesh, scene: o3d.t.geometry.RaycastingScene) -> np.ndarray:
    """Light that reaches each corner of each face -> (m, 3 corners, 3 rgb) float32, about 0.4 (dim) to 1.2 (bright)."""
    rng = np.random.default_rng([0x11647, room.seed])
    start = _starts(mesh)
    open_sky = _openness(mesh.normals, start, scene)
    warm = np.array([1.0, rng.uniform(0.93, 1.0), rng.uniform(0.84, 1.0)])  # lamps between warm and neutral
    cool = np.array([rng.uniform(0.9, 1.0), 0.98, 1.0])
    side = 0.06 * mesh.normals[:, 0] + 0.03 * mesh.normals[:, 1]  # so that two sides of a box always differ
    light = (
        (rng.uniform(0.62, 0.72) + 0.08 * mesh.normals[:, 2:3] + side[:, None])
        * (0.35 + 0.65 * open_sky[:, None])
        * np.ones(3)
    )
    x, y, z = room.extent
    lamps = [(0.0, 0.0)] if max(x, y) < 5.2 else [(-x / 5, -y / 5), (x / 5, y / 5)]
    for lx, ly in lamps:
        point = np.array([lx + rng.uniform(-0.4, 0.4), ly + rng.uniform(-0.4, 0.4), z - 0.12])
        power = rng.uniform(0.5, 0.66) / len(lamps) ** 0.6
        light += power * _from_point(point, 2.2, mesh.normals, start, scene)[:, None] * warm
    for window in (i for i in room.items if i.label == "window"):
        point = window.box[:3] + np.append(window.front, 0.0) * 0.3
        light += rng.uniform(0.12, 0.3) * _from_point(point, 2.0, mesh.normals, start, scene)[:, None] * cool
    return light.astype(np.float32)[mesh.faces]


def _starts(mesh: Mesh) -> np.ndarray:
    """Where the rays of a vertex start: a little off its surface and towards the middle of a face it belongs to."""
    middle = mesh.vertices[mesh.faces].mean(1)
    pull = np.zeros_like(mesh.vertices)
    pull[mesh.faces] = middle[:, None]  # the last face wins; any will do
    return mesh.vertices + _INSET * (pull - mesh.vertices) + _LIFT * mesh.normals


def _openness(normals: np.ndarray, start: np.ndarray, scene: o3d.t.geometry.RaycastingScene) -> np.ndarray:
    """Share (n,) of the hemisphere over each vertex that is open for `_REACH` metres (ambient occlusion)."""
    k = np.arange(_SKY_RAYS)
    up = np.sqrt(1 - (k + 0.5) / _SKY_RAYS)  # cosine-weighted, on a golden spiral
    turn = k * 2.399963
    away = np.sqrt(1 - up**2)
    helper = np.where(np.abs(normals[:, 2:3]) > 0.9, [[1.0, 0.0, 0.0]], [[0.0, 0.0, 1.0]])
    tangent = np.cross(helper, normals)
    tangent /= np.linalg.norm(tangent, axis=1, keepdims=True)
    other = np.cross(normals, tangent)
    ways = (
        up[None, :, None] * normals[:, None]
        + (away * np.cos(turn))[None, :, None] * tangent[:, None]
        + (away * np.sin(turn))[None, :, None] * other[:, None]
    )
    rays = np.concatenate([np.broadcast_to(start[:, None], ways.shape), ways], 2)
    return 1 - _blocked(scene, rays.reshape(-1, 6), _REACH).reshape(ways.shape[:2]).mean(1)


def _from_point(point, soft: float, normals, start, scene) -> np.ndarray:
    """Lambert term (n,) of a lamp at `point`, halved at `soft` metres, with its shadows."""
    way = point - start
    distance = np.linalg.norm(way, axis=1)
    facing = np.clip((way * normals).sum(1) / np.maximum(distance, 1e-6), 0, 1)
    lit = np.zeros(len(start))
    seen = facing > 0
    rays = np.concatenate([start[seen], way[seen]], 1)
    lit[seen] = 1 - _blocked(scene, rays, 0.999)
    return lit * facing * 2 / (1 + (distance / soft) ** 2)


def _blocked(scene: o3d.t.geometry.RaycastingScene, rays: np.ndarray, reach: float) -> np.ndarray:
    """1.0 where a ray (n, 6) hits something before `reach` lengths of its direction."""
    import open3d as o3d

    rays = o3d.core.Tensor(np.ascontiguousarray(rays, np.float32))
    return scene.test_occlusions(rays, tnear=0.0, tfar=reach, nthreads=1).numpy().astype(float)
