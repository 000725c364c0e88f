"""The whole preparation: what is missing and no more, whatever was killed, inputs untouched."""

import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from llava.prepare import steps
from llava.prepare.layout import Layout
from llava.prepare.run import prepare, run_step
from llava.prepare.scans import read_points
from llava.prepare.voxels import read_voxels
from llava.prepare.workers import FEW, Workers
from llava.resumable import only_one


@pytest.fixture
def data(golden_data, golden):
    """The golden scans with a made-up video each."""
    scans = golden_data / "scannet/scans"
    source = Path(os.readlink(scans))
    scans.unlink()
    shutil.copytree(source, scans, copy_function=shutil.copyfile)
    video = golden / "sens/in/scene0009_00/scene0009_00.sens"
    for folder in scans.iterdir():
        folder.chmod(0o755)
        shutil.copyfile(video, folder / f"{folder.name}.sens")
    return golden_data


def snapshot(data):
    paths = sorted(path for path in data.rglob("*") if path.is_file())
    return {path.relative_to(data).as_posix(): path.read_bytes() for path in paths}


def made(data):
    """What was made, in a form in which equal content is equal."""
    found = {}
    for name, content in snapshot(data).items():
        if name.startswith(("scannet/posed_images", "metadata", "processed")) and "/." not in name:
            found[name] = content
    for path in sorted((data / "scannet/pcd_with_object_aabbs").rglob("*.pth")):
        found[path.name] = {key: value.tobytes() for key, value in read_points(path).items()}
    return found


def test_all_is_made_once_and_inputs_are_left_alone(data, capsys):
    before = snapshot(data)
    prepare(data, workers=1)
    assert "scene0002_00: object ids have gaps" in capsys.readouterr().out
    after = snapshot(data)
    assert {name: after[name] for name in before} == before
    layout = Layout(data)
    for scene in ("scene0001_00", "scene0003_00"):
        assert len(list(layout.posed_images(scene).glob("*.jpg"))) == 12
    selection = json.loads(layout.selection().read_text())
    assert [record["video_id"][-12:] for record in selection] == ["scene0001_00", "scene0002_00", "scene0003_00"]
    assert not [name for name in after if ".part" in name]
    start = time.perf_counter()
    prepare(data)
    assert time.perf_counter() - start < 2
    assert all(" 0 made" in line for line in capsys.readouterr().out.splitlines())
    assert snapshot(data) == after


def test_in_parallel_the_same_is_made(data, tmp_path, monkeypatch):
    copy = tmp_path / "copy"
    shutil.copytree(data, copy)
    prepare(data, workers=1)
    monkeypatch.setattr("llava.prepare.workers.FEW", 1)
    prepare(copy, workers=2)
    assert made(data) == made(copy)


@pytest.mark.slow
def test_on_a_ray_cluster_the_same_is_made(data, tmp_path):
    pytest.importorskip("ray")
    copy = tmp_path / "copy"
    shutil.copytree(data, copy)
    prepare(data, workers=1)
    prepare(copy, workers=2, ray="local")
    assert made(data) == made(copy)


@pytest.mark.parametrize("address", ["127.0.0.1:1", "127.0.0.1:99999", "nowhere.invalid:6379", "nonsense"])
def test_a_cluster_that_is_not_there(data, address):
    pytest.importorskip("ray")
    with pytest.raises(ValueError, match=f"there is no Ray cluster at '{address}'"):
        prepare(data, ray=address)


def test_a_cluster_needs_ray(data, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)  # as if it were not installed
    with pytest.raises(ValueError, match=r"Ray is not installed: pip install -e '.\[ray\]'"):
        prepare(data, ray="auto")


def test_a_killed_run_goes_on(data, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(data, copy)
    prepare(copy, workers=1)
    command = [sys.executable, "-c", "import sys; from llava.prepare.run import prepare; prepare(sys.argv[1], 1)"]
    seen = []
    for target in (
        "scannet/posed_images/scene0002_00",
        "scannet/pcd_with_object_aabbs/train/scene0001_00.pth",
        "metadata/scannet_train_gt_box.json",
    ):
        run = subprocess.Popen([*command, str(data)], stdout=subprocess.DEVNULL, cwd=Path(__file__).parents[2])
        while not (data / target).exists() and run.poll() is None:
            time.sleep(0.001)
        run.send_signal(signal.SIGKILL)
        run.wait()
        seen.append((data / target).exists())
    assert all(seen)
    prepare(data, workers=1)
    assert made(data) == made(copy)


@pytest.fixture
def journal(data, monkeypatch):
    """What a frame choice has noted that was killed when all scenes were chosen from."""
    prepare(data, workers=1)
    path = Layout(data).selection()
    path.unlink()

    def die(*arguments, **options):
        raise KeyboardInterrupt

    with monkeypatch.context() as dying:
        dying.setattr(steps, "write_json", die)
        with pytest.raises(KeyboardInterrupt):
            run_step("frame choice", data, workers=1)
    return path.with_suffix(".part.jsonl")


def choose_again(data, journal, *noted):
    """The frame choice that goes on with these lines of the journal."""
    journal.write_text("\n".join(json.dumps(line) if isinstance(line, dict) else line for line in noted))
    run_step("frame choice", data, workers=1)
    assert not journal.exists()
    return json.loads(Layout(data).selection().read_text())


def test_the_journal_of_a_killed_frame_choice_is_used(data, journal):
    first, second, third = map(json.loads, journal.read_text().splitlines())
    first["result"]["num_all_voxels"] = -1  # to be told from a new one
    cut = json.dumps(second)[:40]
    assert choose_again(data, journal, first, cut) == [line["result"] for line in (first, second, third)]


def test_the_journal_tells_what_it_was_made_from(data, journal):
    """A scene whose input has changed since the kill is done again, and one that a lost block of the disk hides."""
    lines = first, second, third = [json.loads(line) for line in journal.read_text().splitlines()]
    expected = [line["result"] for line in lines]
    noted = [{**line, "result": {**line["result"], "num_all_voxels": -1}} for line in lines]
    folder = Layout(data).posed_images(first["name"].removeprefix("scannet/"))
    for frame in sorted(folder.glob("*.png"))[1::2]:
        frame.unlink()
    changed = choose_again(data, journal, noted[0], "\0" * 9, "[1]", {"name": third["name"]}, noted[1], "")
    assert len(changed[0]["frame_files"]) < len(expected[0]["frame_files"])
    assert changed[1:] == [noted[1]["result"], expected[2]]


def test_damaged_scenes_are_named_and_the_others_prepared(data):
    layout = Layout(data)
    layout.sens("scene0001_00").write_bytes(layout.sens("scene0001_00").read_bytes()[:20_000])
    layout.mesh("scene0003_00").write_bytes(layout.mesh("scene0003_00").read_bytes()[:5_000])
    with pytest.raises(ValueError, match="could not be prepared") as error:
        prepare(data, workers=1)
    assert "scene0001_00.sens: the file ends inside the frame" in str(error.value)
    assert "scene0003_00_vh_clean_2.ply cannot be read" in str(error.value)
    assert layout.posed_images("scene0003_00").is_dir() and layout.points("train", "scene0001_00").exists()


NOT_FINITE = """ply
format ascii 1.0
element vertex 1
property float x
property float y
property float z
property uchar red
property uchar green
property uchar blue
element face 0
property list uchar int vertex_indices
end_header
nan 0 0 1 2 3
"""


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("{}.aggregation.json", '{"segGroups": [', "is not valid JSON"),
        ("{}_vh_clean_2.0.010000.segs.json", '{"segIndices": [1, 2]}', "2 segment ids for a mesh of 900 vertices"),
        ("{}_vh_clean_2.ply", "ply\nformat ascii 1.0\nelement vertex 0\nend_header\n", "expected coloured vertices"),
        ("{}.aggregation.json", '{"groups": []}', "is not as ScanNet ships it (KeyError('segGroups'))"),
        ("{}_vh_clean_2.0.010000.segs.json", "[1, 2]", "is not as ScanNet ships it (TypeError("),
        ("{}_vh_clean_2.ply", NOT_FINITE, "expected finite vertices"),
        ("{}.txt", "axisAlignment = 1 0 0\n", "axisAlignment has 3 numbers"),
    ],
)
def test_bad_scan_files(data, name, content, message):
    scene = "scene0001_00"
    (Layout(data).scan(scene) / name.format(scene)).write_text(content)
    with Workers(1) as workers:
        outcome = steps.points(Layout(data), workers)
    assert outcome.made == 2 and len(outcome.problems) == 1
    assert message in outcome.problems[0] and scene in outcome.problems[0]


def test_threads_are_for_scenes_that_come_one_by_one():
    with Workers(4) as workers:
        assert [workers.threads(jobs) for jobs in (1, FEW, FEW + 1, 1000)] == [4, 4, 1, 1]


def test_without_videos_posed_images_serve(data):
    prepare(data, workers=1)
    expected = Layout(data).selection().read_bytes()
    for sens in (data / "scannet/scans").rglob("*.sens"):
        sens.unlink()
    Layout(data).selection().unlink()
    prepare(data, workers=1)
    assert Layout(data).selection().read_bytes() == expected


def test_scans_that_are_not_there_are_counted(data, capsys):
    (data / "scannet/meta_data/scannetv2_test.txt").write_text("scene0707_00\n")
    prepare(data, workers=1)
    out = capsys.readouterr().out
    assert "3 made,     0 there, 1 without .sens" in out
    assert "1 made,     0 there, 3 without mask" in out


def test_a_new_scene_is_added_to_what_is_there(data):
    train = data / "scannet/meta_data/scannetv2_train.txt"
    names = train.read_text()
    train.write_text("scene0001_00\n")
    with Workers(1) as workers:
        layout = Layout(data)
        for step in (steps.posed_images, steps.points, steps.gt_boxes, steps.voxels, steps.selection):
            step(layout, workers)
        old = json.loads(layout.boxes("train", "gt").read_text())
        train.write_text(names)
        for step in (steps.posed_images, steps.points, steps.gt_boxes, steps.voxels, steps.selection):
            assert step(layout, workers).made == 1
    new = json.loads(layout.boxes("train", "gt").read_text())
    assert new["scannet/scene0001_00"] == old["scannet/scene0001_00"] and len(new) == 2
    assert len(read_voxels(layout.voxels())) == 3


def test_records_follow_their_boxes_and_foreign_ones_are_kept(data):
    prepare(data, workers=1)
    mine, foreign = (data / f"processed/{name}_val_llava_style.json" for name in ("scanrefer_vg", "scanqa"))
    before = mine.read_bytes()
    note = data / "processed/.made_from.json"
    made_from = json.loads(note.read_text())
    del made_from[foreign.name]
    note.write_text(json.dumps(made_from))
    foreign.write_text("[]")
    mine.write_text("[]")
    os.utime(Layout(data).boxes("val", "gt"), ns=(1, 1))
    prepare(data, workers=1)
    assert mine.read_bytes() == before
    assert foreign.read_text() == "[]"


def test_records_of_a_script_follow_their_boxes_too(data):
    prepare(data, workers=1)
    shutil.rmtree(data / "processed")
    run_step("records", data, tasks=("scanrefer",))
    path = data / "processed/scanrefer_vg_val_llava_style.json"
    assert [p.name for p in data.glob("processed/*_val_*")] == [path.name]
    before = path.read_bytes()
    path.write_text("[]")
    os.utime(Layout(data).boxes("val", "gt"), ns=(1, 1))
    prepare(data, workers=1)
    assert path.read_bytes() == before


def test_one_preparation_at_a_time(tmp_path):
    with (
        only_one(tmp_path, "holds it"),
        pytest.raises(ValueError, match=f"another process is preparing {tmp_path}"),
    ):
        prepare(tmp_path)
    with pytest.raises(ValueError, match="is no folder"):
        prepare(tmp_path / "nowhere")


def test_no_split_lists(tmp_path):
    with pytest.raises(ValueError, match="none of ScanNet's lists"):
        prepare(tmp_path)
    lists = tmp_path / "scannet/meta_data"
    lists.mkdir(parents=True)
    for split in ("train", "val"):
        (lists / f"scannetv2_{split}.txt").write_text("scene0000_00\n")
    with pytest.raises(ValueError, match="scene0000_00 is already in the train list"):
        prepare(tmp_path)


def test_files_of_the_reference_are_read(tmp_path, golden):
    expected = np.load(golden / "scannet_scan/expected_pcd.npz")
    arrays = {key.split(".")[1]: expected[key] for key in expected.files if key.startswith("scene0001_00")}
    torch.save(arrays, tmp_path / "numpy.pth")
    for key, value in read_points(tmp_path / "numpy.pth").items():
        np.testing.assert_array_equal(value, arrays[key])
    (tmp_path / "voxels.pkl").write_bytes(pickle.dumps({"scene0001_00": [(1, 2, 3), (-4, 5, 6)]}))
    np.testing.assert_array_equal(read_voxels(tmp_path / "voxels.pkl")["scene0001_00"], [(1, 2, 3), (-4, 5, 6)])


class Trap:
    def __reduce__(self):
        return print, ("code was run",)


def test_no_code_is_run_from_a_file(tmp_path, capsys):
    torch.save({"xyz": Trap()}, tmp_path / "points.pth")
    (tmp_path / "voxels.pkl").write_bytes(pickle.dumps({"scene": Trap()}))
    with pytest.raises(ValueError, match=r"points.pth cannot be read"):
        read_points(tmp_path / "points.pth")
    with pytest.raises(ValueError, match=r"voxels.pkl cannot be read"):
        read_voxels(tmp_path / "voxels.pkl")
    assert capsys.readouterr().out == ""
