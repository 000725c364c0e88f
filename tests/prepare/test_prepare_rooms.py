"""The preparation of the embedded data set: the same scripts that ScanNet needs, on rooms."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from llava.captures.scannet import read_posed_images
from llava.geometry.voxels import pack_keys
from llava.prepare.doctor import doctor
from llava.prepare.layout import Layout
from llava.prepare.run import prepare
from llava.prepare.scans import read_points
from llava.prepare.voxels import read_voxels
from llava.tasks import TASKS

REPOSITORY = Path(__file__).resolve().parents[2]
SCRIPTS = (
    "generate_image_scannet",
    "extract_scannet_pcd",
    "extract_gt_box",
    "extract_pred_box",
    "convert_pcd_to_voxel",
    "max_coverage_sampling",
    *(f"process_{task}" for task in TASKS),
)


@pytest.fixture(scope="module")
def rooms(tmp_path_factory):
    from llava.rooms.make import make_rooms

    return make_rooms(tmp_path_factory.mktemp("rooms"), 2, seed=5, val=1, frames=6, size=(96, 72), workers=1)


@pytest.fixture(scope="module")
def prepared(rooms):
    prepare(rooms, workers=1)
    return Layout(rooms)


def test_doctor_finds_it_complete(prepared):
    report = doctor(prepared.data, workers=1)
    assert report.complete, str(report)


def test_points_frames_and_boxes_agree(prepared):
    voxels = read_voxels(prepared.voxels())
    for split, (scene,) in {s: names for s, names in prepared.splits().items() if names}.items():
        points = read_points(prepared.points(split, scene))
        boxes = np.array(json.loads(prepared.boxes(split, "gt").read_text())[f"scannet/{scene}"])
        assert len(boxes) == len(points["aabb_obj_ids"]) > 5
        low, high = points["xyz"].min(axis=0), points["xyz"].max(axis=0)
        assert np.abs(low[2]) < 0.3 and high[2] < 4, "aligned: the floor is at 0"
        assert (boxes[:, :3] - boxes[:, 3:] / 2 >= low - 1e-4).all()
        (selection,) = [
            record
            for record in json.loads(prepared.selection().read_text())
            if record["video_id"] == f"scannet/{scene}"
        ]
        assert selection["num_all_voxels"] == len(np.unique(pack_keys(voxels[scene])))
        # frames and mesh show the same room, or hardly a voxel would be seen by both
        assert selection["num_select_voxels"] > 0.3 * selection["num_all_voxels"]
        assert len(read_posed_images(prepared.posed_images(scene)).frames) == len(selection["frame_files"]) == 6


def test_every_task_has_samples(prepared):
    for task in TASKS.values():
        for split in ("train", "val"):
            assert task.samples(prepared.data, split)


def test_scripts_do_the_same_one_by_one(prepared, tmp_path):
    from llava.rooms.make import make_rooms

    data = make_rooms(tmp_path / "rooms", 2, seed=5, val=1, frames=6, size=(96, 72), workers=1)
    lines = "\n".join(
        f"runpy.run_path('scripts/3d/preprocessing/{script}.py', run_name='__main__')" for script in SCRIPTS
    )
    # one process for all of them: each would import torch anew
    code = f"import runpy, sys; sys.argv[1:] = ['--data', {str(data)!r}]\n{lines}"
    subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, check=True, stdout=subprocess.DEVNULL)
    for folder in ("metadata", "processed"):
        expected = {p.name: p.read_bytes() for p in (prepared.data / folder).glob("[!.]*")}
        assert {p.name: p.read_bytes() for p in (data / folder).glob("[!.]*")} == expected
