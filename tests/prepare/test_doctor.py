import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from llava.captures.sens import write_sens
from llava.prepare.doctor import doctor
from llava.prepare.layout import Layout
from llava.prepare.run import prepare

REAL = Path(__file__).resolve().parents[2].parent / "shared" / "real" / "annotations"


@pytest.fixture
def data(golden_data, golden):
    """The golden scans, each with posed images. They are marked as made up: nobody published how many there are."""
    (golden_data / ".rooms").mkdir()
    prepare(golden_data, workers=1)
    for scene in ("scene0001_00", "scene0002_00", "scene0003_00"):
        folder = Layout(golden_data).posed_images(scene)
        shutil.copytree(golden.parent / "02_geometry/data/scannet/posed_images/scene0000_00", folder)
        for path in [folder, *folder.iterdir()]:
            path.chmod(0o755)
    prepare(golden_data, workers=1)
    return golden_data


def rows(report):
    return {row.what: row for row in report.rows}


def test_a_prepared_folder_is_complete(data):
    report = doctor(data, workers=1)
    assert report.complete, str(report)
    assert str(report).endswith("Complete.")
    found = rows(report)
    assert not found["detector masks"].fine and not found["detector masks"].needed
    assert found["posed images"].found == found["points"].found == 3
    assert "2 train, 1 val, 0 test scenes" in str(report)


def test_what_can_be_made_and_what_must_be_fetched(golden_data):
    report = doctor(golden_data, workers=1)
    assert not report.complete and not report.preparable
    text = str(report)
    assert "MISSING video (.sens, or posed images)" in text and "github.com/ScanNet/ScanNet" in text
    assert rows(report)["mesh and labels (or points)"].fine
    assert rows(report)["scanrefer annotations"].found == 2 and rows(report)["scanrefer records"].found == 0
    assert rows(report)["scannetv2-labels.combined.tsv"].fine and rows(report)["axis alignment"].fine
    assert "2 train (of ScanNet's 1,201)" in text
    (golden_data / "benchmark").unlink()
    assert "github.com/ATR-DBI/ScanQA" in str(doctor(golden_data, workers=1))


@pytest.mark.parametrize(
    ("victim", "message"),
    [
        ("scannet/posed_images/scene0001_00/00010.jpg", "cut: 00010.jpg"),
        ("scannet/posed_images/scene0001_00/00010.png", "cut: 00010.png"),
        ("scannet/pcd_with_object_aabbs/train/scene0001_00.pth", "is damaged or cut short"),
        ("metadata/scannet_train_gt_box.json", "is not valid JSON"),
        ("metadata/pcd_discrete_0.1.pkl", "cannot be read"),
        ("processed/scanqa_val_llava_style.json", "is not valid JSON"),
    ],
)
def test_cut_files_are_found(data, victim, message):
    path = data / victim
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    report = doctor(data, workers=1)
    assert not report.complete
    broken = [problem for row in report.rows for problem in row.broken]
    assert len(broken) == 1 and message in broken[0]


def test_missing_and_cut_raw_files_are_found(data, golden):
    layout = Layout(data)
    (layout.posed_images("scene0002_00") / "00020.txt").unlink()
    shutil.rmtree(layout.posed_images("scene0003_00"))
    scans = data / "scannet/scans"
    source = scans.resolve()
    scans.unlink()
    shutil.copytree(source, scans, copy_function=shutil.copyfile)
    layout.scan("scene0003_00").chmod(0o755)
    video = (golden / "sens/in/scene0009_00/scene0009_00.sens").read_bytes()
    layout.sens("scene0003_00").write_bytes(video[:-10])
    report = rows(doctor(data, workers=1))
    assert "lacks 00020.txt" in report["posed images"].broken[0]
    assert "ends inside the frame 11 of 12" in report["video (.sens, or posed images)"].broken[0]


def test_no_folder(tmp_path):
    with pytest.raises(ValueError, match="is no folder"):
        doctor(tmp_path / "nowhere")


@pytest.fixture
def bare(tmp_path):
    """One training, one validation and one test scene by name, and nothing else."""
    data = tmp_path / "data"
    (data / "scannet/meta_data").mkdir(parents=True)
    for split, scene in (("train", "scene0000_00"), ("val", "scene0011_00"), ("test", "scene0707_00")):
        (data / f"scannet/meta_data/scannetv2_{split}.txt").write_text(f"{scene}\n")
    return data


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def test_an_empty_disk_needs_all(bare):
    report = doctor(bare, workers=1)
    assert not report.preparable
    assert all(row.found == 0 and not row.broken for row in report.rows)
    assert all(row.remedy for row in report.rows)
    assert "MISSING axis alignment" in str(report) and "absent  sqa3d test annotations" in str(report)


def test_annotations_are_counted(bare):
    """As published, one too few, and of too few scans."""
    path = bare / "benchmark/scanrefer/ScanRefer_filtered_{}.json"
    for split, count, scans in (("train", 36_665, 562), ("val", 9_508, 141)):
        write(Path(str(path).format(split)), [{"scene_id": f"scene{i % scans:04}_00"} for i in range(count)])
    assert rows(doctor(bare, workers=1))["scanrefer annotations"].fine
    assert rows(doctor(bare, workers=1))["scan2cap annotations"].fine
    write(Path(str(path).format("val")), [{"scene_id": f"scene{i % 140:04}_00"} for i in range(9_507)])
    few, scans = rows(doctor(bare, workers=1))["scanrefer annotations"].broken
    assert "ScanRefer_filtered_val.json: 9,507 entries, published are 9,508: get it again" in few
    assert "entries about 140 scans, published are 141" in scans
    write(bare / "processed/scan2cap_val_llava_style.json", [{"id": i} for i in range(2_067)])
    (broken,) = rows(doctor(bare, workers=1))["scan2cap records"].broken
    assert "2,067 entries, published are 2,068" in broken
    write(bare / "processed/scan2cap_val_llava_style.json", {"no": "list"})
    (broken,) = rows(doctor(bare, workers=1))["scan2cap records"].broken
    assert "expected a list of annotations or records" in broken


def test_samples_of_real_annotations_are_too_few(bare):
    if not REAL.is_dir():
        pytest.skip(f"no real annotations at {REAL}")
    for name, folder in {"ScanQA": "scanqa", "v1_balanced": "sqa_task/balanced", "ScanRefer": "scanrefer"}.items():
        (bare / "benchmark" / folder).mkdir(parents=True)
        for path in REAL.glob(f"{name}*.json"):
            shutil.copyfile(path, bare / "benchmark" / folder / path.name)
    text = "\n".join(problem for row in doctor(bare, workers=1).rows for problem in row.broken)
    assert "ScanRefer_filtered_train.json: 120 entries, published are 36,665" in text
    assert "ScanQA_v1.0_val.json: 120 entries, published are 4,675" in text
    assert "v1_balanced_questions_val_scannetv2.json: 120 entries, published are 3,261" in text


def posed(folder, size, poses):
    folder.mkdir(parents=True)
    for name in ("intrinsic.txt", "depth_intrinsic.txt"):
        np.savetxt(folder / name, np.eye(4))
    for i, pose in enumerate(poses):
        Image.new("RGB", size).save(folder / f"{i:05}.jpg")
        Image.new("I;16", (64, 48)).save(folder / f"{i:05}.png")
        (folder / f"{i:05}.txt").write_text(pose)


GOOD, LOST = "1 0 0 0 0 1 0 0 0 0 1 0 0 0 0 1", " ".join(["-inf"] * 16)


def test_what_is_odd_about_a_scan_is_told(bare):
    layout = Layout(bare)
    posed(layout.posed_images("scene0000_00"), (1296, 968), [GOOD, LOST])
    posed(layout.posed_images("scene0707_00"), (1296, 968), [GOOD])
    layout.scan("scene0011_00").mkdir(parents=True)
    frame = (b"jpeg", np.ones((6, 8), np.uint16), np.eye(4))
    write_sens(
        layout.sens("scene0011_00"),
        [frame],
        color_intrinsics=np.eye(3),
        depth_intrinsics=np.eye(3),
        color_size=(640, 480),
        depth_size=(8, 6),
    )
    layout.scan_txt("scene0011_00").write_text("colorWidth = 640\n")
    report = doctor(bare, workers=1)
    found = rows(report)
    assert "1 scenes, e.g. scene0000_00: poses that are not finite" in found["posed images"].notes[0]
    assert "scene0011_00: colour of 640x480 instead of 1296x968" in found["video (.sens, or posed images)"].notes[0]
    assert found["axis alignment"].notes == ("1 test scans have none: they stay as they were filmed",)
    assert "scene0011_00.txt has no line axisAlignment" in found["axis alignment"].broken[0]
    assert "poses that are not finite" in str(report)


@pytest.mark.parametrize(
    ("poses", "message"),
    [([LOST, LOST], "has no frame with a finite pose"), ([GOOD, "1 0 0"], "cut: 00001.txt"), ([], "holds no frame")],
)
def test_poses_that_are_no_use(bare, poses, message):
    posed(Layout(bare).posed_images("scene0000_00"), (64, 48), poses)
    (broken,) = rows(doctor(bare, workers=1))["posed images"].broken
    assert message in broken


def test_pictures_and_cameras_that_are_none(bare):
    layout = Layout(bare)
    for scene in ("scene0000_00", "scene0011_00"):
        posed(layout.posed_images(scene), (64, 48), [GOOD])
    (layout.posed_images("scene0000_00") / "00000.jpg").write_bytes(b"no jpeg\xff\xd9")
    (layout.posed_images("scene0011_00") / "depth_intrinsic.txt").write_text("1 0 0")
    picture, camera = rows(doctor(bare, workers=1))["posed images"].broken
    assert "00000.jpg is neither JPEG nor PNG; delete the folder" in picture
    assert "cut: depth_intrinsic.txt" in camera


def test_a_video_without_frames(bare):
    path = Layout(bare).sens("scene0000_00")
    options = {"color_intrinsics": np.eye(3), "depth_intrinsics": np.eye(3), "color_size": (8, 6), "depth_size": (8, 6)}
    write_sens(path, [], **options)
    (broken,) = rows(doctor(bare, workers=1))["video (.sens, or posed images)"].broken
    assert "scene0000_00.sens holds no frame" in broken


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("metadata/scannet_train_gt_box.json", b"5"),
        ("metadata/scannet_select_frames.json", b"[1]"),
        ("metadata/scannet_select_frames.json", b'[{"frames": 1}]'),
        ("metadata/pcd_discrete_0.1.pkl", pickle.dumps({"scene0000_00": [(0, 0, 99999)]})),
        ("metadata/pcd_discrete_0.1.pkl", pickle.dumps({"scene0000_00": None})),
        ("embodiedscan/embodiedscan_infos_train.pkl", pickle.dumps([1])),
        ("embodiedscan/embodiedscan_infos_train.pkl", pickle.dumps({"data_list": [{}]})),
    ],
)
def test_files_of_something_else(bare, name, content):
    (bare / name).parent.mkdir()
    (bare / name).write_bytes(content)
    (broken,) = rows(doctor(bare, workers=1))[Path(name).name].broken
    assert name in broken


def test_a_split_list_of_a_windows_editor(bare):
    path = Layout(bare).split_list("train")
    path.write_text("\ufeffscene0000_00\r\nscene0001_00\r\n")
    assert Layout(bare).splits()["train"] == ["scene0000_00", "scene0001_00"]
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="a list in .*meta_data is no text"):
        doctor(bare, workers=1)
