import shutil

import pytest

from llava.prepare.doctor import doctor
from llava.prepare.layout import Layout
from llava.prepare.run import prepare


@pytest.fixture
def data(golden_data, golden):
    """The golden scans, each with posed images and, as is not in the golden files, infos that name it."""
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
    assert rows(report)["scanrefer annotations"].fine and not rows(report)["scanrefer records"].fine
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
