"""What differs between versions of the phones' formats: older fields, other folders, cameras that refocus."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import lzfse
import numpy as np
import pytest

from llava.captures import find_reader
from llava.captures.pixels import load_depth
from llava.types import Scene
from tests.captures.walk import FRAMES, room_walk
from tests.captures.writers import arkitscenes, nerfstudio, record3d


def read(path: Path, scratch: Path) -> Scene:
    scratch.mkdir()
    return find_reader(path).read(path, scratch)


def old_record3d(path: Path, size: tuple[int, int], depth: np.ndarray) -> None:
    """Without dw, dh, confidence and a camera a frame, in the first camera's world."""
    picture = record3d.picture(np.zeros((size[1], size[0], 3), np.uint8), size)
    with zipfile.ZipFile(path, "w") as archive:
        for index in range(2):
            archive.writestr(f"rgbd/{index}.jpg", picture)
            archive.writestr(f"rgbd/{index}.depth", lzfse.compress(depth.astype("<f4").tobytes()))
        k = [700, 0, 0, 0, 700, 0, size[0] / 2, size[1] / 2, 1]
        poses = [[0, 0, 0, 1, 0, 0, 0], [0.1, 0, 0, 0.995, 0.2, 0, 0]]
        archive.writestr("metadata", json.dumps({"w": size[0], "h": size[1], "K": k, "fps": 60, "poses": poses}))


@pytest.mark.parametrize(("size", "depth_size"), [((720, 960), (192, 256)), ((960, 720), (256, 192))])
def test_an_old_recording(size: tuple[int, int], depth_size: tuple[int, int], tmp_path: Path) -> None:
    depth = np.linspace(0.5, 3, depth_size[0] * depth_size[1]).reshape(depth_size[::-1])
    depth[0, :3] = np.nan, 70, -1
    old_record3d(tmp_path / "old.R3D", size, depth)
    scene = read(tmp_path / "old.R3D", tmp_path / "scratch")
    assert (scene.color_size, scene.depth_size, scene.up) == (size, depth_size, None)
    assert any("how sure it is of its depth" in doubt for doubt in scene.doubts)
    assert scene.depth_intrinsics[0, 0] == pytest.approx(700 * depth_size[0] / size[0])
    read_back = load_depth(scene, 1)
    assert (read_back[0, :3] == 0).all()
    np.testing.assert_allclose(read_back[1:], depth[1:], atol=0.0006)


def test_a_camera_that_refocuses_is_doubted_and_one_of_another_lens_dropped(tmp_path: Path) -> None:
    path, _ = arkitscenes.write(room_walk(), tmp_path)
    files = sorted((path / "lowres_wide_intrinsics").iterdir())[::2]  # those with a pose
    width, height, fx, fy, cx, cy = map(float, files[0].read_text().split())
    files[0].write_text(f"{width} {height} {fx * 1.03} {fy * 1.03} {cx} {cy}")
    files[1].write_text(f"{width} {height} {fx / 2} {fy / 2} {cx} {cy}")
    files[2].write_text(f"{width} {height} nan {fy} {cx} {cy}")
    scene = read(path, tmp_path / "scratch")
    assert len(scene.frames) == FRAMES - 2
    assert "differ from most other frames' by 25% of the width" in scene.dropped[0].reason
    assert "(they are no intrinsics)" in scene.dropped[1].reason
    assert any("off by up to 1.5% of the width" in doubt for doubt in scene.doubts)
    assert scene.depth_intrinsics[0, 0] == pytest.approx(fx)


def test_the_object_detection_set_has_the_files_one_folder_deeper(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, _ = arkitscenes.write(room_walk(), tmp_path / "x")
    scan = tmp_path / arkitscenes.SCAN
    scan.mkdir()
    path.rename(scan / f"{arkitscenes.SCAN}_frames")
    scene = read(scan, tmp_path / "scratch")
    assert len(scene.frames) == FRAMES and scene.name == f"arkitscenes/{arkitscenes.SCAN}"
    (tmp_path / "link").symlink_to(scan)
    assert find_reader(tmp_path / "link").NAME == "ARKitScenes"
    monkeypatch.chdir(scan)
    assert find_reader(Path(".")).NAME == "ARKitScenes"


def changed(folder: Path, change: Callable[[dict], object]) -> Path:
    folder.mkdir()
    path, _ = nerfstudio.write(room_walk(), folder)
    record = json.loads((path / "transforms.json").read_text())
    change(record)
    (path / "transforms.json").write_text(json.dumps(record))
    return path


def test_nerfstudio_with_one_camera_for_all_frames_by_its_angle(tmp_path: Path) -> None:
    walk = room_walk()

    def change(record: dict) -> None:
        for frame in record["frames"]:
            for key in ("fl_x", "fl_y", "cx", "cy", "w", "h"):
                del frame[key]
            frame["file_path"] = frame["file_path"].removesuffix(".jpg")
        record["camera_angle_x"] = 2 * np.arctan(walk.size[0] / 2 / walk.intrinsics[0, 0])

    scene = read(changed(tmp_path / "scene", change), tmp_path / "scratch")
    assert [frame.name for frame in scene.frames] == [f"frame_{index}" for index in range(FRAMES)]
    assert scene.depth_intrinsics[0, 0] == pytest.approx(walk.intrinsics[0, 0])
    assert scene.depth_intrinsics[0, 2] == pytest.approx((walk.size[0] - 1) / 2)  # the middle, from a pixel's centre


def test_sizes_as_instant_ngp_writes_them(tmp_path: Path) -> None:
    def change(record: dict) -> None:
        for frame in record["frames"]:
            frame |= {"w": float(frame["w"]), "h": float(frame["h"])}
        record["frames"][0]["w"] += 0.5

    scene = read(changed(tmp_path / "scene", change), tmp_path / "scratch")
    assert len(scene.frames) == FRAMES - 1 and "w" in scene.dropped[0].reason
    assert scene.depth_intrinsics[0, 0] == pytest.approx(room_walk().intrinsics[0, 0])


def test_nerfstudio_says_what_it_does_not_know(tmp_path: Path) -> None:
    def change(record: dict) -> None:
        del record["orientation_override"]
        record["k1"] = 0.12

    scene = read(changed(tmp_path / "scene", change), tmp_path / "scratch")
    assert scene.up is None
    assert any("distortion (0.12) is not taken out" in doubt for doubt in scene.doubts)


def test_pictures_of_one_name_in_two_folders_are_numbered(tmp_path: Path) -> None:
    def change(record: dict) -> None:
        for frame in record["frames"]:
            if frame["file_path"].endswith("_3.jpg"):
                frame["file_path"] = "images/../images/frame_4.jpg"

    scene = read(changed(tmp_path / "scene", change), tmp_path / "scratch")
    assert [frame.name for frame in scene.frames] == [f"{index:06d}" for index in range(FRAMES)]
