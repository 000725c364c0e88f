"""Triangles against the solids they stand for."""

import numpy as np
import pytest

from llava.rooms.layout import make_room
from llava.rooms.mesh import room_mesh
from llava.rooms.textures import LEVELS, PATTERNS, atlas


@pytest.fixture(scope="module", params=[0, 3, 4])
def pair(request):
    room = make_room(request.param, "scene0000_00")
    return room, room_mesh(room)


def test_every_part_has_faces_and_every_face_an_area(pair):
    room, mesh = pair
    parts = {(item.id, k) for item in room.items for k in range(len(item.parts))}
    assert set(zip(mesh.face_item.tolist(), mesh.face_part.tolist(), strict=True)) == parts
    a, b, c = np.moveaxis(mesh.vertices[mesh.faces], 1, 0)
    assert (np.linalg.norm(np.cross(b - a, c - a), axis=1) > 1e-8).all()


def test_faces_turn_towards_their_normals(pair):
    _, mesh = pair
    a, b, c = np.moveaxis(mesh.vertices[mesh.faces], 1, 0)
    assert (np.einsum("ij,ij->i", np.cross(b - a, c - a), mesh.normals[mesh.faces].mean(1)) > 0).all()
    np.testing.assert_allclose(np.linalg.norm(mesh.normals, axis=1), 1, atol=1e-5)


def test_the_mesh_fills_the_boxes(pair):
    room, mesh = pair
    for item in room.items[6:]:
        v = mesh.vertices[mesh.faces[mesh.face_item == item.id].ravel()]
        low, high = item.box[:3] - item.box[3:] / 2, item.box[:3] + item.box[3:] / 2
        assert (v.min(0) > low - 1e-4).all() and (v.max(0) < high + 1e-4).all()
        # A cylinder's 20 sides, when turned, lie up to 1.3 % of its width inside its box.
        assert (v.min(0) < low + 0.02).all() and (v.max(0) > high - 0.02).all()


def test_the_shell_is_seen_from_inside(pair):
    room, mesh = pair
    for item in room.items[:6]:
        corner = mesh.faces[mesh.face_item == item.id].ravel()
        assert (np.einsum("ij,ij->i", mesh.normals[corner], np.array([0, 0, 1.3]) - mesh.vertices[corner]) > 0).all()


def test_patterns_keep_the_colour_on_average():
    table = atlas()
    assert len(table.start) == len(PATTERNS)
    for i in range(len(PATTERNS)):
        coarsest = table.texels[table.start[i, LEVELS - 1] :][:16].astype(float) / 128
        assert 0.8 < coarsest.mean() < 1.15
