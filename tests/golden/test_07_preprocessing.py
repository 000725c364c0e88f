"""Every output of the reference's preprocessing: scans, masks, records, videos, frames of maximum coverage."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from llava.captures.scannet import SPLITS, read_pickle, read_posed_images
from llava.captures.sens import SensReader
from llava.frames import STRATEGIES, sample
from llava.prepare.coverage import select_frames
from llava.prepare.layout import Layout
from llava.prepare.posed_images import extract_frames
from llava.prepare.run import prepare, run_step
from llava.prepare.scans import read_points
from llava.prepare.voxels import read_voxels
from llava.tasks import TASKS
from llava.tasks.scanrefer import read_annotations


def load(path: Path):
    return json.loads(path.read_text())


@pytest.fixture(scope="module")
def scans(golden) -> Path:
    return golden / "07_preprocessing/scannet_scan"


def data_folder(scans: Path, data: Path) -> Path:
    """A data folder with the raw files of the recorded scans (linked: they must not be written)."""
    (data / "scannet").mkdir(parents=True)
    os.symlink(scans / "data/benchmark", data / "benchmark")
    for name in ("scans", "mask"):
        os.symlink(scans / "data/scannet" / name, data / "scannet" / name)
    shutil.copytree(scans / "meta", data / "scannet/meta_data", copy_function=shutil.copyfile)
    (data / "scannet/meta_data").chmod(0o755)  # the recordings are read-only
    return data


@pytest.fixture(scope="module")
def prepared(scans, tmp_path_factory) -> Layout:
    data = data_folder(scans, tmp_path_factory.mktemp("scans") / "data")
    prepare(data, workers=1)
    return Layout(data)


def test_points(prepared, scans, arrays):
    expected = arrays(scans / "expected_pcd.npz")
    split_of = {scene: split for split, scenes in prepared.splits().items() for scene in scenes}
    assert {key.split(".")[0] for key in expected} == set(split_of)
    for scene, split in split_of.items():
        points = read_points(prepared.points(split, scene))
        assert list(points) == [key.split(".")[1] for key in expected if key.startswith(f"{scene}.")]
        for key, value in points.items():
            wanted = expected[f"{scene}.{key}"]
            assert value.dtype == wanted.dtype, key
            if key == "normal":
                np.testing.assert_allclose(value, wanted, atol=2e-5)
            else:
                np.testing.assert_array_equal(value, wanted, err_msg=key)


def boxes_of(folder: Path, names: Iterable[str]) -> dict[str, dict]:
    """Files of boxes by name; {} for one that is not there, because none of its scenes has any."""
    return {name: load(folder / name) if (folder / name).exists() else {} for name in names}


def test_boxes(prepared, scans):
    """Ours keep the scenes that the reference drops."""
    expected = boxes_of(scans / "out_metadata", [path.name for path in (scans / "out_metadata").glob("*_gt_box.json")])
    assert any(expected.values())
    found = boxes_of(prepared.data / "metadata", expected)
    assert expected == {name: {scene: found[name][scene] for scene in expected[name]} for name in expected}


def test_boxes_as_published(scans, tmp_path):
    """A scene with a gap in its object ids is dropped, and an empty mask ends its scene's list."""
    data = data_folder(scans, tmp_path / "data")
    expected = boxes_of(scans / "out_metadata", [path.name for path in (scans / "out_metadata").glob("*_box.json")])
    kept = {scene for name, boxes in expected.items() if name.endswith("_gt_box.json") for scene in boxes}
    splits = Layout(data).splits()
    labelled = {f"scannet/{scene}" for split, scenes in splits.items() if split != "test" for scene in scenes}
    run_step("points", data, workers=1)
    with pytest.raises(ValueError, match="left out: its object ids") if labelled - kept else nullcontext():
        run_step("gt boxes", data, workers=1, compat="video3d")
    run_step("proposals", data, workers=1, compat="video3d")
    assert expected == boxes_of(data / "metadata", expected)


def test_voxels(prepared, scans, arrays):
    expected, voxels = arrays(scans / "expected_voxels.npz"), read_voxels(prepared.voxels())
    assert sorted(voxels) == sorted(expected)
    for scene in expected:
        np.testing.assert_array_equal(voxels[scene], expected[scene])


def test_records(scans, tmp_path):
    """Made from the reference's boxes, so that nothing but the conversion is compared."""
    data = tmp_path / "data"
    shutil.copytree(scans / "data/benchmark", data / "benchmark", copy_function=shutil.copyfile)
    shutil.copytree(scans / "meta", data / "scannet/meta_data", copy_function=shutil.copyfile)
    shutil.copytree(scans / "out_metadata", data / "metadata", copy_function=shutil.copyfile)
    for folder in (data, *(path for path in data.rglob("*") if path.is_dir())):
        folder.chmod(0o755)  # the recordings are read-only
    raw = {path: path.read_bytes() for path in (data / "benchmark").rglob("*.json")}
    known = {
        task.processed(data, split, stem).name: (task, split)
        for task in TASKS.values()
        for split in task.splits
        for stem in task.files
    }
    expected = sorted((scans / "out_processed").iterdir())
    assert expected
    for path in expected:
        task, split = known[path.name]
        assert task.process(data, split).read_bytes() == path.read_bytes(), path.name
        assert len(task.samples(data, split)) == len(load(path))
    for path in sorted((scans / "out_scanrefer_annotated").iterdir()):
        assert read_annotations(data, path.stem.rsplit("_", 1)[1]) == load(path), path.name
    assert raw == {path: path.read_bytes() for path in raw}, "the raw annotations were rewritten"


@pytest.fixture(scope="module")
def videos(golden) -> list[Path]:
    found = sorted((golden / "07_preprocessing/sens/in").glob("*/*.sens"))
    assert found
    return found


def test_video_container(golden, arrays, videos):
    expected = arrays(golden / "07_preprocessing/sens/expected_arrays.npz")
    for path in videos:
        frames = list(SensReader(path))
        assert len(frames) == sum(name.endswith(".png") for name in expected)
        for frame in frames:
            np.testing.assert_array_equal(frame.depth(), expected[f"{frame.index:05d}.png"])


@pytest.mark.parametrize("compat", [None, "video3d"])
@pytest.mark.parametrize(("name", "every"), [("all", 1), ("fast", 10)])
def test_posed_images(golden, arrays, videos, tmp_path, compat, name, every):
    folder = golden / "07_preprocessing/sens"
    expected, pixels = load(folder / "expected.json"), arrays(folder / "expected_arrays.npz")
    (video,) = videos
    out = tmp_path / video.stem
    extract_frames(video, out, every, compat)
    assert sorted(path.name for path in out.iterdir()) == expected["lists"][name]
    for path in out.iterdir():
        wanted = expected["contents"][path.name]
        if path.suffix == ".txt":
            assert path.read_text() == wanted
            continue
        image = Image.open(path)
        values = np.asarray(image)
        assert values.shape == tuple(wanted["shape"])
        if path.suffix == ".png":
            assert image.mode == wanted["mode"] and values.sum(dtype=np.int64) == wanted["sum"]
            np.testing.assert_array_equal(values, pixels[path.name])
        else:
            step = -(-values.shape[0] // pixels[path.name].shape[0])
            difference = np.abs(values[::step, ::step].astype(int) - pixels[path.name])
            # our mode copies the JPEG, so it differs by the loss of the reference's second encoding
            assert difference.max() == 0 if compat else difference.mean() < 8


@pytest.fixture(scope="module")
def coverage(golden) -> Path:
    return golden / "07_preprocessing/max_coverage"


@pytest.fixture(scope="module")
def captures(coverage, tmp_path_factory) -> dict[str, Path]:
    """The recorded captures; their pictures, which do not matter, are made up."""
    root, source = tmp_path_factory.mktemp("coverage"), coverage / "data"
    os.symlink(source / "embodiedscan", root / "embodiedscan")
    found = {}
    for split in SPLITS:
        for info in read_pickle(source / f"embodiedscan/embodiedscan_infos_{split}.pkl")["data_list"]:
            scene = info["sample_idx"].removeprefix("scannet/")
            folder = root / "scannet/posed_images" / scene
            folder.mkdir(parents=True)
            for path in (source / "scannet/posed_images" / scene).iterdir():
                os.symlink(path, folder / path.name)
            for name in ("intrinsic.txt", "depth_intrinsic.txt"):
                (folder / name).unlink(missing_ok=True)
                np.savetxt(folder / name, info["depth_cam2img"])
            for depth in sorted(folder.glob("*.png")):
                if not depth.with_suffix(".jpg").exists():
                    Image.new("RGB", Image.open(depth).size).save(depth.with_suffix(".jpg"))
            found[scene] = folder
    assert found
    return found


def test_order_of_maximum_coverage(coverage, captures, arrays):
    """Its rule: the scan's voxels only, and pixels without depth see the camera's own voxel (quirk Q15)."""
    voxels = arrays(coverage / "pcd_voxels.npz")
    expected = load(coverage / "expected_select_frames.json")
    assert expected
    for record in expected:
        scene = record["video_id"].removeprefix("scannet/")
        ours = select_frames(captures[scene], voxels[scene], limit=len(record["frame_files"]), compat="video3d")
        assert ours == record


def test_frames_of_each_strategy(coverage, captures):
    (record,) = load(coverage / "expected_select_frames.json")
    scene = read_posed_images(captures[record["video_id"].removeprefix("scannet/")])
    recorded = load(coverage / "expected_mc_frames.json")
    compared = 0
    for key, expected in recorded.items():
        name, _, limit = key.rpartition("_")
        strategy = "mc" if name.removeprefix("mc").isdigit() else name
        if strategy in STRATEGIES and limit.isdigit():
            chosen = [f"{scene.frames[i].name}.jpg" for i in sample(scene, strategy, int(limit), record)]
            assert chosen == [Path(file).name for file in expected], key
            compared += 1
    assert compared >= 3
