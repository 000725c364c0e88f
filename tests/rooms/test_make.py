"""A data root: the same bytes from the same seed, whoever makes it and however often it is killed."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
import zlib
from pathlib import Path

import numpy as np
import pytest

from llava.captures.sens import SensReader
from llava.geometry.camera import unproject
from llava.rooms.gather import BENCHMARKS, situation_splits
from llava.rooms.layout import make_room
from llava.rooms.make import FORMAT, MAKING, WORK, _checked, make_rooms, provide_rooms, scene_seed
from llava.rooms.mesh import room_mesh
from llava.rooms.render import raycaster
from llava.rooms.show import preview

SMALL = {"frames": 4, "size": (96, 72)}
SEED, SCENES = 5, 6
ROOT = Path(__file__).resolve().parents[2]


def digest(folder: Path) -> dict[str, str]:
    """sha256 of every file below a folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    return make_rooms(tmp_path_factory.mktemp("rooms") / "data", SCENES, SEED, val=2, workers=2, **SMALL)


def load(path: Path):
    """Unpickle, letting in numpy arrays and nothing else."""

    class Restricted(pickle.Unpickler):
        def find_class(self, module, name):
            assert (module.partition(".")[0], name) in {("numpy", n) for n in ("_reconstruct", "ndarray", "dtype")}
            return super().find_class(module, name)

    with path.open("rb") as file:
        return Restricted(file).load()


def test_one_worker_and_two_make_the_same_bytes(made, tmp_path):
    one = make_rooms(tmp_path / "data", SCENES, SEED, val=2, workers=1, **SMALL)
    assert digest(one) == digest(made)


def test_threads_do_not_change_a_byte(made, tmp_path):
    code = "from llava.rooms.make import make_rooms; import sys; "
    code += f"make_rooms(sys.argv[1], {SCENES}, {SEED}, val=2, workers=1, **{SMALL})"
    environment = os.environ | {"OMP_NUM_THREADS": "2"}
    subprocess.run([sys.executable, "-c", code, tmp_path / "data"], cwd=ROOT, env=environment, check=True)
    assert digest(tmp_path / "data") == digest(made)


def test_a_killed_run_goes_on_where_it_stopped(made, tmp_path):
    out = tmp_path / "data"
    script = tmp_path / "make.py"
    script.write_text(
        "import sys\nfrom llava.rooms.make import make_rooms\n"
        f"if __name__ == '__main__':\n    make_rooms(sys.argv[1], {SCENES}, {SEED}, val=2, workers=2, **{SMALL})\n"
    )
    run = subprocess.Popen([sys.executable, script, out], env=os.environ | {"PYTHONPATH": str(ROOT)})
    scans = out / "scannet/scans"
    deadline = time.monotonic() + 60
    while not (scans.is_dir() and any(scans.iterdir())):
        assert run.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    run.send_signal(signal.SIGKILL)
    run.wait()
    time.sleep(0.3)  # the workers notice, and end
    kept = {path.name: path.stat().st_mtime_ns for path in scans.iterdir()}
    assert 0 < len(kept) < SCENES
    make_rooms(out, SCENES, SEED, val=2, workers=1, **SMALL)
    assert digest(out) == digest(made)
    assert {name: (scans / name).stat().st_mtime_ns for name in kept} == kept


def test_a_second_run_makes_nothing_anew(made):
    before = {path: path.stat().st_mtime_ns for path in made.rglob("*") if path.is_file()}
    make_rooms(made, SCENES, SEED, val=2, workers=2, **SMALL)
    assert {path: path.stat().st_mtime_ns for path in made.rglob("*") if path.is_file()} == before
    assert not list((made / WORK).rglob("*.part*"))


def test_depth_through_pose_and_alignment_lies_on_the_rooms_surfaces(made):
    import open3d as o3d

    for index in (0, 5):
        name = f"scene{index:04d}_00"
        room = make_room(scene_seed(SEED, index), name)
        scene = raycaster(room_mesh(room))
        scan = made / "scannet/scans" / name
        lines = dict(line.split(" = ") for line in (scan / f"{name}.txt").read_text().splitlines())
        align = np.array(lines["axisAlignment"].split(), float).reshape(4, 4)
        reader = SensReader(scan / f"{name}.sens")
        assert len(reader) == SMALL["frames"] == int(lines["numColorFrames"])
        assert reader.color_size == reader.depth_size == SMALL["size"]
        assert float(lines["fx_depth"]) == pytest.approx(float(reader.depth_intrinsics[0, 0]), abs=1e-4)
        for frame in reader:
            depth = frame.depth().astype(np.float32) / 1000
            points = unproject(depth, reader.depth_intrinsics, align @ frame.pose)[depth > 0]
            away = scene.compute_distance(o3d.core.Tensor(points.astype(np.float32))).numpy()
            expected = 0.0014 * depth[depth > 0] ** 2 + 0.0025 * depth[depth > 0] ** 2
            assert np.median(away) < 0.015
            assert (away < 3 * expected + 0.004).mean() > 0.97


def test_splits_and_labels_are_scannets(made):
    meta = made / "scannet/meta_data"
    assert (meta / "scannetv2_train.txt").read_text().split() == [f"scene{i:04d}_00" for i in range(4)]
    assert (meta / "scannetv2_val.txt").read_text().split() == ["scene0004_00", "scene0005_00"]
    assert (meta / "scannetv2_test.txt").read_text() == ""
    header, *rows = (line.split("\t") for line in (meta / "scannetv2-labels.combined.tsv").read_text().splitlines())
    assert header[:5] == ["id", "raw_category", "category", "count", "nyu40id"]
    assert all(len(row) == len(header) for row in rows)
    known = {row[1]: int(row[4]) for row in rows}
    assert known["office chair"] == 5
    for path in (made / "scannet/scans").rglob("*.aggregation.json"):
        assert {group["label"] for group in json.loads(path.read_text())["segGroups"]} <= set(known)


def test_infos_are_embodiedscans(made, golden):
    theirs = load(golden("02_geometry") / "data/embodiedscan/embodiedscan_infos_val.pkl")
    ours = load(made / "embodiedscan/embodiedscan_infos_val.pkl")
    assert ours.keys() == theirs.keys()
    scene, example = ours["data_list"][1], theirs["data_list"][0]
    assert scene.keys() == example.keys()
    assert scene["images"][0].keys() == example["images"][0].keys()
    assert scene["sample_idx"] == "scannet/scene0005_00"
    assert scene["images"][3]["img_path"] == "scannet/posed_images/scene0005_00/00003.jpg"
    poses = [frame.pose for frame in SensReader(made / "scannet/scans/scene0005_00/scene0005_00.sens")]
    np.testing.assert_array_equal([image["cam2global"] for image in scene["images"]], poses)
    assert load(made / "embodiedscan/embodiedscan_infos_test.pkl")["data_list"] == []


def test_annotations_speak_of_the_scenes_of_their_split(made, golden):
    splits = {"train": {f"scene{i:04d}_00" for i in range(4)}, "val": {"scene0004_00", "scene0005_00"}}
    for benchmark, pattern in BENCHMARKS.items():
        for split, scenes in splits.items():
            rows = json.loads((made / "benchmark" / pattern.format(split=split)).read_text())
            example = json.loads(
                (golden("07_preprocessing") / "scannet_scan/data/benchmark" / pattern.format(split=split)).read_text()
            )
            if benchmark.startswith("sqa3d"):
                key = benchmark.removeprefix("sqa3d_")
                rows, example = rows[key], example[key]
                scenes = scenes if split == "train" else {"scene0004_00"}  # the other one is SQA3D's test
            assert {row["scene_id"] for row in rows} == scenes
            assert example[0].keys() <= rows[0].keys()


def test_question_ids_are_unique_and_joined(made):
    seen = []
    for split in ("train", "val", "test"):
        questions, annotations = (
            json.loads((made / "benchmark" / BENCHMARKS[f"sqa3d_{key}"].format(split=split)).read_text())[key]
            for key in ("questions", "annotations")
        )
        assert [q["question_id"] for q in questions] == [a["question_id"] for a in annotations]
        seen += [q["question_id"] for q in questions]
    assert len(seen) == len(set(seen)) > 20
    asked = [
        row["question_id"]
        for split in ("train", "val")
        for row in json.loads((made / "benchmark" / BENCHMARKS["scanqa"].format(split=split)).read_text())
    ]
    assert len(asked) == len(set(asked)) > 40


def test_test_scenes_have_annotations_of_their_own():
    assert situation_splits({"train": ["a"], "val": ["b", "c"], "test": ["d"]})["test"] == ["d"]
    assert situation_splits({"train": ["a"], "val": ["b", "c"], "test": []})["test"] == ["c"]


def test_other_seeds_are_other_rooms(made, tmp_path):
    other = make_rooms(tmp_path / "data", 1, SEED + 1, val=0, workers=1, **SMALL)
    name = "scannet/scans/scene0000_00/scene0000_00.sens"
    assert zlib.crc32((other / name).read_bytes()) != zlib.crc32((made / name).read_bytes())
    assert scene_seed(0, 9_999) < scene_seed(1, 0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scenes": 0}, "1 to 10000 scenes"),
        ({"scenes": 3, "val": 2, "test": 2}, "found 3 with 2"),
        ({"seed": -1}, "seed of 0 to"),
        ({"seed": 10**9}, "base model's rooms"),
        ({"frames": 0}, "at least 1 frame"),
        ({"size": (8, 8)}, "16x16"),
    ],
)
def test_impossible_wishes_are_refused(change, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        make_rooms(**({"out": tmp_path / "data", "scenes": 2} | change))
    assert not (tmp_path / "data").exists()


def test_a_folder_made_otherwise_is_refused(made):
    with pytest.raises(ValueError, match="was made with"):
        make_rooms(made, SCENES, SEED + 1, val=2, **SMALL)


@pytest.mark.parametrize("entry", ["scannet/scans", "benchmark", "processed"])
def test_a_folder_of_other_data_is_refused_and_left_alone(entry, tmp_path):
    (tmp_path / entry).mkdir(parents=True)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ValueError, match=r"has not made.*give another folder"):
        make_rooms(tmp_path, 1, **SMALL)
    provide_rooms(tmp_path, 1)
    assert sorted(tmp_path.rglob("*")) == before


def test_rooms_that_are_there_are_finished_as_they_were_begun(made, tmp_path):
    before = digest(made)
    provide_rooms(made, 560)
    assert digest(made) == before
    (tmp_path / WORK).mkdir()
    shutil.copy(made / MAKING, tmp_path / MAKING)  # as if killed before the first scene
    provide_rooms(tmp_path, 560)
    assert digest(tmp_path) == before


def test_rooms_of_an_older_format_are_used_as_they_are(made, tmp_path, capsys):
    old = shutil.copytree(made, tmp_path / "data")
    (old / MAKING).write_text((old / MAKING).read_text().replace(f'"format": {FORMAT}', '"format": 0'))
    before = digest(old)
    provide_rooms(old, 560)
    assert digest(old) == before
    assert "holds rooms of format 0, used as they are" in capsys.readouterr().out


@pytest.mark.parametrize(("scenes", "val"), [(1, 0), (2, 1), (5, 1), (100, 10), (1000, 60)])
def test_a_tenth_is_held_out_and_one_at_least(scenes, val):
    assert _checked(scenes, 0, None, 0, 16, (192, 144)).val == val


def test_two_runs_in_one_folder_are_refused(tmp_path):
    fcntl = pytest.importorskip("fcntl")
    (tmp_path / WORK).mkdir()
    handle = os.open(tmp_path / WORK, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    try:
        with pytest.raises(ValueError, match="another process"):
            make_rooms(tmp_path, 1, **SMALL)
    finally:
        os.close(handle)


def test_preview_shows_the_rooms_that_would_be_made(tmp_path):
    from PIL import Image

    path = preview(tmp_path / "sheet.png", rooms=2, frames=2, seed=SEED, size=(64, 48))
    assert Image.open(path).size == (4 * 64, 2 * (48 + 14))
    with pytest.raises(ValueError, match="at least one room"):
        preview(tmp_path / "none.png", rooms=0)
