"""A room as triangles, with what is needed to colour them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import numpy as np

from llava.rooms.room import Item, Part, Room
from llava.rooms.textures import PATTERNS, TEXTURE_INDEX

_SIDES = 20  # of a cylinder or cone
_SHELL_CELL = 0.25  # metres between the shell's vertices, where light is kept
_FACE_CELL = 0.6  # the same for furniture


@dataclass(frozen=True)
class Mesh:
    """Triangles of a room in its aligned world, metres. n vertices, m faces."""

    vertices: np.ndarray  # (n, 3) float32
    normals: np.ndarray  # (n, 3) float32, unit, outwards (into the room for the shell)
    uv: np.ndarray  # (n, 2) float32, in tiles of the face's texture
    faces: np.ndarray  # (m, 3) int32
    face_item: np.ndarray  # (m,) int32, Item.id
    face_part: np.ndarray  # (m,) int32, index in Item.parts
    face_rgb: np.ndarray  # (m, 3) uint8
    face_texture: np.ndarray  # (m,) int32, index into textures.PATTERNS


@dataclass(frozen=True)
class _Shape:
    """A solid of unit size around 0. `flat` (n, 2): surface coordinates that uv is scaled from."""

    vertices: np.ndarray
    normals: np.ndarray
    flat: np.ndarray
    faces: np.ndarray


def room_mesh(room: Room) -> Mesh:
    """Triangles of all items; the shell is its inner faces only, in small cells."""
    pieces = []
    for item in room.items:
        for k, part in enumerate(item.parts):
            shape, size = (_shell_face(item, part), part.size) if item.shell else (_solid(part), part.size)
            pieces.append((item, k, part, shape, size))
    counts = np.array([len(p[3].vertices) for p in pieces])
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    faces = np.concatenate([p[3].faces + s for p, s in zip(pieces, starts, strict=True)])
    repeat = np.array([len(p[3].faces) for p in pieces])
    vertices, normals, uv = (np.concatenate(a) for a in zip(*(_stand(*p) for p in pieces), strict=True))
    return Mesh(
        vertices=vertices.astype(np.float32),
        normals=normals.astype(np.float32),
        uv=uv.astype(np.float32),
        faces=faces.astype(np.int32),
        face_item=np.repeat(np.array([p[0].id for p in pieces], np.int32), repeat),
        face_part=np.repeat(np.array([p[1] for p in pieces], np.int32), repeat),
        face_rgb=np.repeat(np.array([p[2].rgb for p in pieces], np.uint8), repeat, axis=0),
        face_texture=np.repeat(np.array([TEXTURE_INDEX[p[2].texture] for p in pieces], np.int32), repeat),
    )


def _stand(item: Item, index: int, part: Part, shape: _Shape, size) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Vertices and normals in the room, and texture coordinates, of one part."""
    size = np.asarray(size, float)
    local = shape.vertices * size + np.asarray(part.center)
    normal = shape.normals / size  # normals of a stretched solid
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    c, s = math.cos(item.yaw), math.sin(item.yaw)
    turn = np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])
    pattern = PATTERNS[part.texture]
    if pattern.period == 0:
        uv = shape.flat + 0.5
    else:
        uv = _flat_metres(shape, size) / pattern.period
        uv = uv + np.array([0.377 * index + 0.13 * item.id, 0.611 * index])  # neighbours' grain must not continue
    return local @ turn.T + np.asarray(item.position), normal @ turn.T, uv


def _flat_metres(shape: _Shape, size: np.ndarray) -> np.ndarray:
    """Surface coordinates in metres; u (the grain) along the longer side of a face."""
    normal = np.abs(shape.normals)
    axis = normal.argmax(1)
    first, second = np.array([1, 0, 0])[axis], np.array([2, 2, 1])[axis]  # the face's own axes
    along, across = size[first], size[second]
    flat = shape.flat * np.stack([along, across], 1)
    return np.where((across > along)[:, None], flat[:, ::-1], flat)


def _solid(part: Part) -> _Shape:
    if part.shape == "box":
        return _box(*(min(4, max(1, math.ceil(s / _FACE_CELL))) for s in part.size))
    if part.shape == "cylinder":
        return _cylinder(1.0)
    if part.shape == "cone":
        return _cylinder(0.02)
    if part.shape == "sphere":
        return _sphere()
    raise ValueError(f"expected a part's shape to be box, cylinder, cone or sphere, found {part.shape!r}")


def _plate(columns: int, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """A square -0.5..0.5 in cells -> points (n, 2), faces (m, 3), counter-clockwise."""
    u, v = np.meshgrid(np.linspace(-0.5, 0.5, columns + 1), np.linspace(-0.5, 0.5, rows + 1))
    a = (np.arange(rows)[:, None] * (columns + 1) + np.arange(columns)[None]).ravel()
    b, c, d = a + 1, a + columns + 1, a + columns + 2
    return np.stack([u.ravel(), v.ravel()], 1), np.concatenate([np.stack([a, b, d], 1), np.stack([a, d, c], 1)])


def _face(axis: int, sign: int, cells: tuple[int, int, int]) -> _Shape:
    """One side of the unit cube."""
    first, second = ((1, 2), (0, 2), (0, 1))[axis]
    flat, faces = _plate(cells[first], cells[second])
    vertices = np.zeros((len(flat), 3))
    vertices[:, first], vertices[:, second], vertices[:, axis] = flat[:, 0], flat[:, 1], sign * 0.5
    normals = np.zeros_like(vertices)
    normals[:, axis] = sign
    seen = flat * np.array([sign if axis == 0 else -sign if axis == 1 else 1, 1])  # pictures must not be mirrored
    outwards = (sign > 0) != (axis == 1)
    return _Shape(vertices, normals, seen, faces if outwards else faces[:, ::-1])


@cache
def _box(x: int, y: int, z: int) -> _Shape:
    return _join([_face(axis, sign, (x, y, z)) for axis in range(3) for sign in (-1, 1)])


def _shell_face(item: Item, part: Part) -> _Shape:
    """The side of a slab that looks into the room."""
    thin = int(np.argmin(part.size))
    toward = -np.sign(item.position[thin] + part.center[thin]) if item.label != "floor" else 1
    cells = tuple(max(1, math.ceil(s / _SHELL_CELL)) for s in part.size)
    return _face(thin, int(toward), cells)


def _join(shapes: list[_Shape]) -> _Shape:
    starts = np.cumsum([0] + [len(s.vertices) for s in shapes[:-1]])
    return _Shape(
        *(np.concatenate(a) for a in zip(*((s.vertices, s.normals, s.flat) for s in shapes), strict=True)),
        np.concatenate([s.faces + k for s, k in zip(shapes, starts, strict=True)]),
    )


@cache
def _cylinder(top: float) -> _Shape:
    """Radius 0.5 at the bottom, 0.5 * top at the top."""
    a = np.linspace(0, 2 * np.pi, _SIDES + 1)
    ring = np.stack([np.cos(a), np.sin(a)], 1)
    slope = np.concatenate([ring, np.full((_SIDES + 1, 1), (1 - top) / 2)], 1)
    side = np.concatenate(
        [np.c_[ring * 0.5, np.full(_SIDES + 1, -0.5)], np.c_[ring * 0.5 * top, np.full(_SIDES + 1, 0.5)]]
    )
    u = np.tile(a / (2 * np.pi) * np.pi, 2)
    k = np.arange(_SIDES)
    wall = np.concatenate([np.stack([k, k + 1, k + _SIDES + 2], 1), np.stack([k, k + _SIDES + 2, k + _SIDES + 1], 1)])
    shapes = [_Shape(side, np.concatenate([slope, slope]), np.stack([u, side[:, 2]], 1), wall)]
    for z, r in ((-0.5, 0.5), (0.5, 0.5 * top)):
        disc = np.concatenate([[[0, 0, z]], np.c_[ring[:-1] * r, np.full(_SIDES, z)]])
        fan = np.stack([np.zeros(_SIDES, int), 1 + k, 1 + (k + 1) % _SIDES], 1)
        normal = np.tile([[0, 0, np.sign(z)]], (len(disc), 1))
        shapes.append(_Shape(disc, normal, disc[:, :2], fan if z > 0 else fan[:, ::-1]))
    return _join(shapes)


@cache
def _sphere() -> _Shape:
    rows, columns = 8, 16
    flat, faces = _plate(columns, rows)
    a, b = (flat[:, 0] + 0.5) * 2 * np.pi, flat[:, 1] * np.pi
    normal = np.stack([np.cos(a) * np.cos(b), np.sin(a) * np.cos(b), np.sin(b)], 1)
    edges = normal[faces]
    faces = faces[
        np.linalg.norm(np.cross(edges[:, 1] - edges[:, 0], edges[:, 2] - edges[:, 0]), axis=1) > 1e-9
    ]  # poles
    return _Shape(normal * 0.5, normal, flat * np.array([np.pi, 1.0]), faces)
