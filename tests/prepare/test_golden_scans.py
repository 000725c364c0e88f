"""Parity with the reference's preprocessing on its golden scans."""

import json

import numpy as np
import pytest

from llava.prepare.layout import Layout
from llava.prepare.run import prepare, run_step
from llava.prepare.scans import read_points
from llava.prepare.voxels import read_voxels

SCENES = {"scene0001_00": "train", "scene0002_00": "train", "scene0003_00": "val"}


@pytest.fixture
def prepared(golden_data):
    prepare(golden_data, workers=1)
    return Layout(golden_data)


def read(path):
    return json.loads(path.read_text())


def test_points(prepared, golden):
    expected = np.load(golden / "scannet_scan/expected_pcd.npz")
    for scene, split in SCENES.items():
        points = read_points(prepared.points(split, scene))
        assert list(points) == [key.split(".")[1] for key in expected.files if key.startswith(scene)]
        for key, value in points.items():
            wanted = expected[f"{scene}.{key}"]
            assert value.dtype == wanted.dtype, key
            if key == "normal":
                np.testing.assert_allclose(value, wanted, atol=2e-5)
            else:
                np.testing.assert_array_equal(value, wanted, err_msg=key)


def test_boxes(prepared, golden):
    expected = golden / "scannet_scan/out_metadata"
    for split in ("train", "val"):
        for scene, boxes in read(expected / f"scannet_{split}_gt_box.json").items():
            assert read(prepared.boxes(split, "gt"))[scene] == boxes
    assert read(prepared.boxes("val", "pred")) == read(expected / "scannet_val_pred_box.json")
    assert not prepared.boxes("test", "pred").exists(), "no test scene is listed"
    # the reference drops this scene, because its object ids have a gap
    assert len(read(prepared.boxes("train", "gt"))["scannet/scene0002_00"]) == 2
    assert read(prepared.object_ids("train"))["scannet/scene0002_00"] == [0, 51]


def test_reference_mode_drops_scenes_with_gaps(golden_data, golden):
    run_step("points", golden_data, workers=1)
    with pytest.raises(ValueError, match=r"scene0002_00: left out: its object ids \[0, 51\] have gaps"):
        run_step("gt boxes", golden_data, workers=1, compat="video3d")
    for split in ("train", "val"):
        expected = read(golden / f"scannet_scan/out_metadata/scannet_{split}_gt_box.json")
        assert read(Layout(golden_data).boxes(split, "gt")) == expected


def test_voxels(prepared, golden):
    expected = np.load(golden / "scannet_scan/expected_voxels.npz")
    voxels = read_voxels(prepared.voxels())
    assert sorted(voxels) == sorted(expected.files)
    for scene in expected.files:
        np.testing.assert_array_equal(voxels[scene], expected[scene])


def test_records(prepared, golden):
    for expected in sorted((golden / "scannet_scan/out_processed").iterdir()):
        assert read(prepared.data / "processed" / expected.name) == read(expected), expected.name
