"""The scanned mesh of a room: what ScanNet's fusion and over-segmentation would have left of it.

The room's mesh is cut into triangles of a scan's size, its vertices jittered as a fused surface is, and grouped
into small flat segments. Everything here is in the room's own (aligned) world; `write.py` takes it to the raw one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from llava.rooms.mesh import Mesh
from llava.rooms.room import Room

VERTICES = 12_500  # aimed at; a real scan has about 150 thousand, at 2 cm instead of about 12
SURFACE_NOISE = 0.0015  # metres, standard deviation of a fused vertex
SEGMENT_CELL = 0.7  # metres, the largest side of an over-segmentation segment
_WELD = 1e-4  # metres, vertices nearer than this are one


@dataclass(frozen=True)
class Scan:
    """A triangle mesh over a room with the item and the segment of each vertex (n vertices, m faces)."""

    vertices: np.ndarray  # (n, 3) float32 metres, aligned world
    rgb: np.ndarray  # (n, 3) uint8
    faces: np.ndarray  # (m, 3) int32
    items: np.ndarray  # (n,) int32 Item.id
    segments: np.ndarray  # (n,) int32 over-segmentation; a segment lies in one item


def scan_room(room: Room, mesh: Mesh, rng: np.random.Generator) -> Scan:
    """Scan a room: about 10 to 15 thousand vertices, more densely on small items than on walls.

    Each item's vertices span its box to within a few millimetres. Raises ValueError where an item has no face,
    because ScanNet's object ids must have no gap (a scene with a gap is dropped by box extraction).
    """
    missing = sorted({item.id for item in room.items} - set(np.unique(mesh.face_item).tolist()))
    if missing:
        raise ValueError(f"{room.name}: expected faces for every item, found none for {missing}; check the mesh")
    corners = mesh.vertices[mesh.faces].astype(np.float64)
    triangles, source = _cut(corners, _spacing(room, mesh, corners))
    points, faces, first = _weld(triangles, mesh.face_item[source])
    source = source[first // 3]  # of each vertex: the mesh face it was first seen on
    items = mesh.face_item[source].astype(np.int32)
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])[source]
    segments = _segment(points, normals, items)
    rgb = mesh.face_rgb[source].astype(np.float64) + rng.normal(0, 4, size=(len(points), 1))
    points = points + rng.normal(0, SURFACE_NOISE, size=points.shape)
    boxes = np.stack([item.box for item in sorted(room.items, key=lambda item: item.id)])[items]
    points = np.clip(points, boxes[:, :3] - boxes[:, 3:] / 2, boxes[:, :3] + boxes[:, 3:] / 2)
    return Scan(
        vertices=points.astype(np.float32),
        rgb=np.clip(np.rint(rgb), 0, 255).astype(np.uint8),
        faces=faces,
        items=items,
        segments=segments,
    )


def _spacing(room: Room, mesh: Mesh, corners: np.ndarray) -> np.ndarray:
    """The longest edge allowed on each mesh face, metres: one value for the room, less on small items."""
    areas = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1) / 2
    spacing = np.sqrt(4.0 * areas.sum() / VERTICES)  # 4: found by trying, with edges of half to full length
    diagonal = np.zeros(max(item.id for item in room.items) + 1)
    for item in room.items:
        diagonal[item.id] = np.linalg.norm(item.box[3:])
    return np.minimum(spacing, diagonal[mesh.face_item] / 4)


def _cut(corners: np.ndarray, spacing: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Halve triangles (m, 3, 3) at their longest edge until it is at most `spacing` (m,); also each one's source."""
    source = np.arange(len(corners))
    triangles, sources = [], []
    while len(corners):
        edges = np.linalg.norm(np.roll(corners, -1, axis=1) - corners, axis=2)
        longest = edges.argmax(axis=1)
        fine = edges.max(axis=1) <= spacing[source]
        triangles.append(corners[fine])
        sources.append(source[fine])
        corners, source, longest = corners[~fine], source[~fine], longest[~fine]
        a, b, c = (corners[np.arange(len(corners)), (longest + k) % 3] for k in range(3))
        middle = (a + b) / 2
        corners = np.concatenate([np.stack([a, middle, c], axis=1), np.stack([middle, b, c], axis=1)])
        source = np.concatenate([source, source])
    return np.concatenate(triangles), np.concatenate(sources)


def _weld(triangles: np.ndarray, items: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Join corners of one item that coincide: points (n, 3), faces (m, 3), first corner (n,) seen at each point."""
    corners = triangles.reshape(-1, 3)
    grid = np.rint(corners / _WELD).astype(np.int64) + (1 << 17)
    assert grid.min() >= 0 and grid.max() < 1 << 18, "a room is at most 26 m wide and centred"
    keys = (np.repeat(items.astype(np.int64), 3) << 54) | (grid[:, 0] << 36) | (grid[:, 1] << 18) | grid[:, 2]
    _, first, vertex = np.unique(keys, return_index=True, return_inverse=True)
    faces = vertex.reshape(-1, 3).astype(np.int32)
    distinct = (faces[:, 0] != faces[:, 1]) & (faces[:, 1] != faces[:, 2]) & (faces[:, 2] != faces[:, 0])
    return corners[first], faces[distinct], first


def _segment(points: np.ndarray, normals: np.ndarray, items: np.ndarray) -> np.ndarray:
    """Group vertices of one item, one facing and one cell of space; a segment's id is its lowest vertex index."""
    axis = np.abs(normals).argmax(axis=1)
    facing = 2 * axis + (np.take_along_axis(normals, axis[:, None], axis=1)[:, 0] > 0)
    cells = np.floor(points / SEGMENT_CELL).astype(np.int64)
    keys = np.column_stack([items, facing, cells])
    _, first, segment = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    return first[segment.reshape(-1)].astype(np.int32)
