"""What `llava find` leaves: a mesh that other programs open, corners in both worlds, a picture, nothing stale."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from llava.found import EDGE, color_of, draw, told, write_found, write_mesh
from llava.geometry.boxes import bounds, corners
from llava.scan import Found, Scan


@pytest.fixture(scope="module")
def scan(tiny_base: Path, rooms_data: Path) -> Scan:
    return Scan(tiny_base, rooms_data / "scannet/posed_images/scene0000_00")


@pytest.fixture(scope="module")
def found(scan: Scan) -> list[Found]:
    """The nine largest boxes, so that a colour comes twice."""
    order = np.argsort(-scan.boxes[:, 3:].prod(axis=1))[:9]
    return [Found(scan.boxes[i], 0.3 / (rank + 1)) for rank, i in enumerate(order)]


def test_open3d_reads_the_boxes_in_both_worlds(scan: Scan, found: list[Found], tmp_path: Path) -> None:
    import open3d

    content = write_found(scan, "all that is large", found, tmp_path / "new/folder")
    meshes = {world: open3d.io.read_triangle_mesh(content["files"][world]) for world in ("world", "capture")}
    vertices = {world: np.asarray(mesh.vertices) for world, mesh in meshes.items()}
    assert len(vertices["world"]) == 12 * 8 * len(found)
    for number, own in enumerate(np.split(vertices["world"], len(found))):
        low, high = bounds(found[number].box)
        np.testing.assert_allclose(own.min(axis=0), low - EDGE / 2, atol=1e-5)
        np.testing.assert_allclose(own.max(axis=0), high + EDGE / 2, atol=1e-5)
        color = np.asarray(meshes["world"].vertex_colors)[12 * 8 * number] * 255
        np.testing.assert_allclose(color, color_of(number), atol=0.6)
    back = vertices["capture"] @ scan.scene.align[:3, :3].T + scan.scene.align[:3, 3]
    np.testing.assert_allclose(back, vertices["world"], atol=1e-5)
    assert np.abs(vertices["capture"] - vertices["world"]).max() > 0.1
    for mesh in meshes.values():
        assert len(mesh.triangles) == 12 * 12 * len(found)
        sizes = np.asarray(mesh.cluster_connected_triangles()[1])
        assert (sizes == 12).all() and mesh.is_edge_manifold(), "each bar is closed"
    solid = open3d.geometry.TriangleMesh(
        open3d.utility.Vector3dVector(vertices["world"][:8]),
        open3d.utility.Vector3iVector(np.asarray(meshes["world"].triangles)[:12]),
    )
    assert solid.is_watertight() and solid.get_volume() == pytest.approx(
        np.prod(np.ptp(vertices["world"][:8], axis=0)), rel=1e-3
    )


def test_json_says_where_in_both_worlds(scan: Scan, found: list[Found], tmp_path: Path) -> None:
    write_found(scan, "the 'größte' thing", found[:1], tmp_path)
    content = json.loads((tmp_path / "found.json").read_text())
    assert content["description"] == "the 'größte' thing" and content["boxes_from"] == "pred"
    assert content["boxes_offered"] == len(scan.boxes) and len(content["frames"]) == len(set(scan.chosen))
    (one,) = content["found"]
    np.testing.assert_allclose(one["corners"], corners(np.array(one["box"])), atol=1e-5)
    np.testing.assert_allclose(scan.from_capture(one["capture_corners"]), one["corners"], atol=1e-5)
    assert one["confidence"] == pytest.approx(0.3) and tuple(one["color"]) == color_of(0)


def test_a_mesh_of_somebody_else_stays(scan: Scan, found: list[Found], tmp_path: Path) -> None:
    (tmp_path / "world.ply").write_text("my scan")
    with pytest.raises(ValueError, match="world.ply would be overwritten"):
        write_found(scan, "something", found, tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["world.ply"]
    assert (tmp_path / "world.ply").read_text() == "my scan"


def test_a_search_that_was_stopped_is_our_own(
    scan: Scan, found: list[Found], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("llava.found.write_mesh", full)
        with pytest.raises(OSError, match="No space"):
            write_found(scan, "something", found, tmp_path)
    assert write_found(scan, "something", found, tmp_path)["found"] and (tmp_path / "capture.ply").is_file()


def test_nothing_found_leaves_nothing_of_an_earlier_search(scan: Scan, found: list[Found], tmp_path: Path) -> None:
    before = write_found(scan, "something", found, tmp_path)
    assert all(Path(path).stat().st_size > 100 for path in before["files"].values())
    (tmp_path / "mine.txt").write_text("kept")
    content = write_found(scan, "a unicorn", [], tmp_path)
    assert content["found"] == [] and list(content["files"]) == ["json"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["found.json", "mine.txt"]
    assert told(scan, []) == "nothing in the scan is like that"


def test_the_best_frames_show_the_boxes_in_their_colours(scan: Scan, found: list[Found], tmp_path: Path) -> None:
    pixels = np.asarray(draw(scan, found[:2])).reshape(-1, 3).astype(int)
    for number in range(2):
        assert (np.abs(pixels - color_of(number)).max(axis=1) < 25).sum() > 100
    content = write_found(scan, "two", found[:2], tmp_path)
    with Image.open(content["files"]["picture"]) as picture:
        assert picture.format == "PNG" and picture.width >= 448


def test_boxes_in_words(scan: Scan, found: list[Found]) -> None:
    first, second = told(scan, [Found(np.array([1, -2, 0.5, 1, 1, 1]), 0.876), found[0]]).splitlines()
    assert first == "1: 88%, at (1.00, -2.00, 0.50), 1.00 x 1.00 x 1.00 m" and second.startswith("2: 30%, at (")


def test_a_mesh_far_from_its_origin(tmp_path: Path) -> None:
    """A capture's own world may be a map's: single precision would round its corners to half a metre."""
    import open3d

    vertices = np.array([[0.1, 0, 0], [1.2, 0, 0], [0, 1.3, 0]]) + (4.5e5, 5.2e6, 300)
    write_mesh(tmp_path / "far.ply", vertices, np.array([[0, 1, 2]]), np.zeros((3, 3), np.uint8))
    mesh = open3d.io.read_triangle_mesh(str(tmp_path / "far.ply"))
    np.testing.assert_allclose(np.asarray(mesh.vertices), vertices, rtol=0, atol=1e-6)
