"""Frame sampling: names, limits, the reference's choices, and the picture of what was chosen."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from llava.captures.pixels import scene_voxels
from llava.captures.scannet import read_align, read_pickle
from llava.frames.sampling import STRATEGIES, canonical_strategy, read_selection, sample
from llava.geometry.voxels import max_coverage, pack_keys
from llava.types import Dropped, Frame, Scene

K = np.array([[20.0, 0, 16.2], [0, 20, 12.2], [0, 0, 1]])  # no point falls between two voxels


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    """Six cameras side by side before a wall, the last two in the place of the first, and no depth in one."""
    Image.fromarray(np.full((24, 32, 3), 120, np.uint8)).save(tmp_path / "color.jpg")
    Image.fromarray(np.full((24, 32), 2000, np.uint16)).save(tmp_path / "wall.png")
    Image.fromarray(np.zeros((24, 32), np.uint16)).save(tmp_path / "dark.png")
    frames = []
    for index, x in enumerate((0.0, 1.0, 6.0, 12.0, 0.0, 0.0)):
        pose = np.eye(4)
        pose[:3] = [[1, 0, 0, x], [0, 0, 1, 0], [0, -1, 0, 1.5]]  # looks along +y, z up
        depth = tmp_path / ("dark.png" if index == 3 else "wall.png")
        frames.append(Frame(f"{index:05d}", tmp_path / "color.jpg", depth, pose))
    return Scene("test/wall", tuple(frames), (32, 24), (32, 24), K, K, dropped=(Dropped("00009", "lost"),))


def record(names: list[str], gains: list[int], total: int) -> dict:
    files = [f"data/scannet/posed_images/scene0000_00/{name}.jpg" for name in names]
    return {"video_id": "test/wall", "frame_files": files, "voxel_nums": gains, "num_all_voxels": total}


def test_coverage_prefers_new_area_and_the_earlier_frame(scene: Scene) -> None:
    assert sample(scene, "mc", 2) == [0, 2]
    assert sample(scene, "mc", 3) == [0, 1, 2]
    assert sample(scene, "mc", 99) == [0, 1, 2, 3, 4, 5]


def test_ratios_stop_early(scene: Scene) -> None:
    assert sample(scene, "mc-ratio95", 99) == [0, 1, 2]  # the other three add nothing
    assert sample(scene, "ratio90", 99) == [0, 1, 2]
    assert sample(scene, "mc-ratio90", 1) == [0]


def test_a_frame_without_depth_covers_nothing(scene: Scene) -> None:
    voxels = scene_voxels(scene)
    assert len(voxels) == 6 and len(voxels[3]) == 0
    np.testing.assert_array_equal(voxels[0], voxels[5])


def test_a_precomputed_selection_is_followed(scene: Scene) -> None:
    chosen = record(["00005", "00009", "00001", "00002"], [50, 30, 15, 5], 100)
    assert sample(scene, "mc", 3, chosen) == [1, 5]  # 00009 was dropped by the reader
    assert sample(scene, "mc-ratio95", 32, chosen) == [1, 5]
    assert sample(scene, "mc-ratio90", 1, chosen) == [5]
    with pytest.raises(ValueError, match=r"'00042'.*llava prepare"):
        sample(scene, "mc", 3, record(["00042"], [1], 1))


def test_a_selection_of_lost_frames_is_not_answered_blindly(scene: Scene) -> None:
    with pytest.raises(ValueError, match="none of the 1 frames selected for test/wall can be used"):
        sample(scene, "mc", 1, record(["00009", "00005"], [50, 30], 100))


def test_names_of_strategies() -> None:
    assert canonical_strategy("ratio95") == "mc-ratio95"
    with pytest.raises(ValueError, match="did you mean 'uniform'"):
        canonical_strategy("unifrom")
    with pytest.raises(ValueError, match="did you mean 'mc-ratio95'"):
        canonical_strategy("mc_ratio95")
    with pytest.raises(ValueError, match="choose one of uniform, mc, mc-ratio95, mc-ratio90$"):
        canonical_strategy("zzz")


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_fewer_than_one_frame(scene: Scene, strategy: str) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        sample(scene, strategy, 0)
    with pytest.raises(ValueError, match="test/wall has no frame"):
        sample(replace(scene, frames=()), strategy, 4)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_without_any_depth_frames_are_evenly_spaced(scene: Scene, strategy: str) -> None:
    dark = replace(scene, frames=tuple(replace(frame, depth=scene.frames[3].depth) for frame in scene.frames))
    blind = record([frame.name for frame in scene.frames], [0] * 6, 0)
    assert sample(dark, strategy, 3) == sample(dark, strategy, 3, blind) == [0, 2, 5]
    if strategy != "uniform":
        assert sample(dark, strategy, 9) == sample(dark, strategy, 9, blind) == [*range(6)]


def test_more_frames_than_were_selected_are_found_here(scene: Scene) -> None:
    """A selection made beforehand ends with its 32nd frame."""
    short = record(["00005", "00002"], [50, 20], 100)
    assert sample(scene, "mc", 2, short) == [2, 5]
    assert sample(scene, "mc", 3, short) == sample(scene, "mc", 3) == [0, 1, 2]
    assert sample(scene, "mc-ratio95", 3, short) == [0, 1, 2], "two frames see 70 % of it"
    assert sample(scene, "mc-ratio95", 3, record(["00005", "00002"], [50, 48], 100)) == [2, 5]


@pytest.mark.parametrize("x", [1e8, np.nan, np.inf])
def test_what_is_nowhere_is_named(scene: Scene, x: float) -> None:
    pose = scene.frames[1].pose.copy()
    pose[0, 3] = x
    frames = (scene.frames[0], replace(scene.frames[1], pose=pose))
    with pytest.raises(ValueError, match="frame 00001 of test/wall: voxel indices go up to .*metres"):
        sample(replace(scene, frames=frames), "mc", 2)


def test_damaged_selection_files(tmp_path: Path) -> None:
    path = tmp_path / "scannet_select_frames.json"
    with pytest.raises(ValueError, match="llava prepare"):
        read_selection(path)
    whole = record(["00001", "00002"], [3, 1], 5)
    path.write_text(json.dumps([whole]))
    assert read_selection(path) == {"test/wall": whole}
    lacking = {key: value for key, value in whole.items() if key != "frame_files"}
    wrong = [{"frame_files": "00001.jpg"}, {"voxel_nums": [3]}, {"voxel_nums": [3, "1"]}, {"num_all_voxels": None}]
    for content in (1, {"a": 1}, [1], [{"id": 1}], [lacking], *([whole | change] for change in wrong)):
        path.write_text(json.dumps(content))
        with pytest.raises(ValueError, match=r"no list of frame selections.*run `llava prepare` again"):
            read_selection(path)
    path.write_text("{")
    with pytest.raises(ValueError, match="no list of frame selections"):
        read_selection(path)


@pytest.fixture(scope="module")
def coverage(golden) -> tuple[Path, Scene]:
    """The recorded scan of 40 depth images; its colour images were not kept, so no reader can open it."""
    folder = golden("07_preprocessing/max_coverage")
    images = folder / "data/scannet/posed_images/scene0012_00"
    align = read_align(folder / "data", "scene0012_00")
    (scan,) = read_pickle(folder / "data/embodiedscan/embodiedscan_infos_train.pkl")["data_list"]
    k = np.array(scan["depth_cam2img"])[:3, :3]
    frames = [
        Frame(path.stem, path.with_suffix(".jpg"), path, align @ np.loadtxt(path.with_suffix(".txt")))
        for path in sorted(images.glob("*.png"))
    ]
    return folder, Scene("scannet/scene0012_00", tuple(frames), (80, 60), (80, 60), k, k, align=align)


def test_our_coverage_agrees_with_the_scan(coverage: tuple[Path, Scene]) -> None:
    """Chosen from depth alone, the frames still cover nearly as much of the scan as the recorded choice."""
    folder, scene = coverage
    scan = pack_keys(np.load(folder / "pcd_voxels.npz")["scene0012_00"])
    voxels = [np.intersect1d(keys, scan) for keys in scene_voxels(scene)]
    ours = np.unique(np.concatenate([voxels[i] for i in sample(scene, "mc", 8)]))
    _, gains = max_coverage(voxels, 8)
    assert len(ours) > 0.9 * sum(gains)
