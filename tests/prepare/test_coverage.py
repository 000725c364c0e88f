import json
import os
import shutil

import numpy as np
import pytest
from PIL import Image

from llava.captures.scannet import read_pickle, read_posed_images
from llava.frames import sample
from llava.prepare.coverage import select_frames


@pytest.fixture
def scene(golden, tmp_path):
    """The golden capture; its pictures, which do not matter, are made up."""
    source = golden / "max_coverage/data"
    folder = tmp_path / "data/scannet/posed_images/scene0012_00"
    shutil.copytree(source / "scannet/posed_images/scene0012_00", folder, copy_function=os.symlink)
    os.symlink(source / "embodiedscan", tmp_path / "data/embodiedscan")
    infos = read_pickle(source / "embodiedscan/embodiedscan_infos_train.pkl")
    (capture,) = [info for info in infos["data_list"] if info["sample_idx"] == "scannet/scene0012_00"]
    for name in ("intrinsic.txt", "depth_intrinsic.txt"):
        np.savetxt(folder / name, capture["depth_cam2img"])
    Image.new("RGB", (80, 60)).save(tmp_path / "black.jpg")
    for depth in folder.glob("*.png"):
        os.symlink(tmp_path / "black.jpg", depth.with_suffix(".jpg"))
    return folder


def test_reference_selection(scene, golden):
    voxels = np.load(golden / "max_coverage/pcd_voxels.npz")["scene0012_00"]
    (expected,) = json.loads((golden / "max_coverage/expected_select_frames.json").read_text())
    record = select_frames(scene, voxels, compat="video3d")
    assert record == expected
    frames = json.loads((golden / "max_coverage/expected_mc_frames.json").read_text())
    opened = read_posed_images(scene)
    for strategy, name in (("mc", "mc32"), ("mc-ratio95", "mc-ratio95"), ("mc-ratio90", "mc-ratio90")):
        for limit in (8, 16, 32):
            chosen = [f"{opened.frames[i].name}.jpg" for i in sample(opened, strategy, limit, record)]
            assert chosen == frames[f"{name}_{limit}"]


def test_ours_counts_only_measured_depth(scene, golden):
    voxels = np.load(golden / "max_coverage/pcd_voxels.npz")["scene0012_00"]
    ours, reference = select_frames(scene, voxels), select_frames(scene, voxels, compat="video3d")
    assert ours["num_all_voxels"] == reference["num_all_voxels"] == len(voxels)
    assert ours["num_select_voxels"] <= reference["num_select_voxels"]
    assert ours["voxel_nums"] == sorted(ours["voxel_nums"], reverse=True)
    assert ours == select_frames(scene, voxels), "the same frames each time"


def test_a_scene_of_many_frames_offers_every_second_one(scene, golden):
    voxels = np.load(golden / "max_coverage/pcd_voxels.npz")["scene0012_00"]
    record = select_frames(scene, voxels, limit=20)
    assert all(int(file[-9:-4]) % 20 == 0 for file in record["frame_files"])
    record = select_frames(scene, voxels, limit=21)
    assert any(int(file[-9:-4]) % 20 == 10 for file in record["frame_files"])
