"""The scanned mesh and its files against the room that they came from."""

from __future__ import annotations

import json

import numpy as np
import pytest

from llava.geometry.boxes import boxes_from_points
from llava.rooms.layout import make_room
from llava.rooms.mesh import room_mesh
from llava.rooms.scan import SEGMENT_CELL, scan_room
from llava.rooms.write import draw_alignment, write_scan, write_scan_txt

NAME = "scene0007_00"


@pytest.fixture(scope="module")
def room():
    return make_room(7, NAME)


@pytest.fixture(scope="module")
def scan(room):
    return scan_room(room, room_mesh(room), np.random.default_rng(7))


def test_a_scan_has_a_scans_size_and_whole_faces(scan):
    assert 9_000 < len(scan.vertices) < 18_000
    assert scan.faces.min() == 0
    assert scan.faces.max() == len(scan.vertices) - 1
    assert (scan.items[scan.faces] == scan.items[scan.faces][:, :1]).all()


def test_every_object_spans_its_box(room, scan):
    ids, boxes = boxes_from_points(scan.vertices, scan.items)
    assert ids.tolist() == list(range(len(room.items)))
    for item, box in zip(room.items, boxes, strict=True):
        if not item.shell:  # of a wall only the inner face can be scanned
            np.testing.assert_allclose(box, item.box, atol=0.03, err_msg=item.label)


def test_cutting_keeps_the_surface(room, scan):
    def area(points, faces):
        a, b, c = (points[faces[:, k]].astype(float) for k in range(3))
        return np.linalg.norm(np.cross(b - a, c - a), axis=1).sum() / 2

    mesh = room_mesh(room)
    assert area(scan.vertices, scan.faces) == pytest.approx(area(mesh.vertices, mesh.faces), rel=0.02)


def test_segments_are_small_and_lie_in_one_item(scan):
    segments = np.unique(scan.segments)
    assert 10 * len(np.unique(scan.items)) < len(segments) < len(scan.vertices) / 5
    for segment in segments[::20]:
        inside = scan.segments == segment
        assert len(np.unique(scan.items[inside])) == 1
        assert np.ptp(scan.vertices[inside], axis=0).max() < SEGMENT_CELL + 0.02


def test_the_same_generator_gives_the_same_scan(room, scan):
    again = scan_room(room, room_mesh(room), np.random.default_rng(7))
    for name in ("vertices", "rgb", "faces", "items", "segments"):
        np.testing.assert_array_equal(getattr(again, name), getattr(scan, name))


def test_an_item_without_faces_is_an_error(room):
    mesh = room_mesh(room)
    mesh.face_item[mesh.face_item == 8] = 9
    with pytest.raises(ValueError, match=r"found none for \[8\]"):
        scan_room(room, mesh, np.random.default_rng(0))


def test_files_give_back_the_boxes_in_the_rooms_world(room, scan, tmp_path):
    plyfile = pytest.importorskip("plyfile")
    align = draw_alignment(np.random.default_rng(3))
    write_scan(tmp_path, room, scan, align)
    write_scan_txt(tmp_path / f"{NAME}.txt", room, align, np.eye(3), (192, 144), 16)

    lines = dict(line.split(" = ") for line in (tmp_path / f"{NAME}.txt").read_text().splitlines())
    read = np.array(lines["axisAlignment"].split(), float).reshape(4, 4)
    np.testing.assert_array_equal(read, align)
    assert abs(read[0, 1]) > 0.1  # turned
    assert np.abs(read[:3, 3]).max() > 0.1  # and shifted
    vertex = plyfile.PlyData.read(tmp_path / f"{NAME}_vh_clean_2.ply")["vertex"]
    raw = np.stack([vertex[axis] for axis in "xyz"], axis=1)
    points = raw @ read[:3, :3].T + read[:3, 3]
    segments = np.array(json.loads((tmp_path / f"{NAME}_vh_clean_2.0.010000.segs.json").read_text())["segIndices"])
    groups = json.loads((tmp_path / f"{NAME}.aggregation.json").read_text())["segGroups"]
    assert [group["objectId"] for group in groups] == list(range(len(room.items)))
    for group, item in zip(groups, room.items, strict=True):
        own = points[np.isin(segments, group["segments"])]
        assert group["label"] == item.label
        if not item.shell:
            box = boxes_from_points(own, np.zeros(len(own), int))[1][0]
            np.testing.assert_allclose(box, item.box, atol=0.03, err_msg=item.label)


def test_the_ply_has_the_layout_of_scannets(room, scan, tmp_path, golden):
    write_scan(tmp_path, room, scan, np.eye(4))
    theirs = golden("07_preprocessing") / "scannet_scan/data/scannet/scans/scene0001_00/scene0001_00_vh_clean_2.ply"

    def header(path):
        lines = path.read_bytes().split(b"end_header\n")[0].decode().splitlines()
        return [line for line in lines if not line.startswith("element")]

    assert header(tmp_path / f"{NAME}_vh_clean_2.ply") == header(theirs)
