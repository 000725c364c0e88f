"""Parity with the reference beside tests/golden: annotations as the data sets ship them, and the published records."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from llava.tasks import TASKS
from llava.tasks.task import Record
from llava.types import Prediction

REAL = Path(__file__).resolve().parents[2].parent / "shared" / "real" / "annotations"


def lines(path: Path) -> list[Record]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture(scope="module")
def mini(golden: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The recordings' scans and annotations, laid out as a data folder."""
    source = golden("07_preprocessing/scannet_scan")
    root = tmp_path_factory.mktemp("mini") / "data"
    shutil.copytree(source / "data/benchmark", root / "benchmark", copy_function=shutil.copyfile)
    shutil.copytree(source / "meta", root / "scannet/meta_data", copy_function=shutil.copyfile)
    shutil.copytree(source / "out_metadata", root / "metadata", copy_function=shutil.copyfile)
    for folder in root.rglob("*"):
        if folder.is_dir():
            folder.chmod(0o755)  # the recordings are read-only
    return root


@pytest.mark.parametrize("split", ["train", "val"])
def test_annotated_scanrefer_files_are_taken_as_they_are(
    mini: Path, golden: Callable[[str], Path], tmp_path: Path, split: str
) -> None:
    source = golden("07_preprocessing/scannet_scan/out_scanrefer_annotated") / f"ScanRefer_filtered_{split}.json"
    (tmp_path / "benchmark/scanrefer").mkdir(parents=True)
    shutil.copyfile(source, tmp_path / "benchmark/scanrefer" / source.name)
    shutil.copytree(mini / "metadata", tmp_path / "metadata")
    assert TASKS["scanrefer"].convert(tmp_path, split) == TASKS["scanrefer"].convert(mini, split)


@pytest.mark.parametrize("name", ["scanrefer", "multi3drefer", "scan2cap", "scanqa", "sqa3d"])
def test_answer_lines_have_the_references_fields(mini: Path, golden: Callable[[str], Path], name: str) -> None:
    task = TASKS[name]
    task.process(mini, "val")
    sample = task.samples(mini, "val")[0]
    line = task.answer_record(Prediction(sample, "t", np.ones((2, 6)), np.arange(3.0)), "m", "p")
    reference = lines(golden(f"06_metrics/{name}.jsonl"))[0]
    assert set(reference) <= set(line)
    assert line["dataset"] == reference["dataset"]
    assert all(type(line[key]) is type(reference[key]) for key in reference if key != "sample_id")


@pytest.fixture
def real(tmp_path: Path) -> Path:
    if not REAL.exists():
        pytest.skip(f"no real annotations at {REAL}")
    for name, folder in {"ScanQA": "scanqa", "v1_balanced": "sqa_task/balanced", "ScanRefer": "scanrefer"}.items():
        (tmp_path / "benchmark" / folder).mkdir(parents=True)
        for path in REAL.glob(f"{name}*.json"):
            shutil.copyfile(path, tmp_path / "benchmark" / folder / path.name)
    return tmp_path


@pytest.mark.parametrize(("name", "shared"), [("scanqa", 20), ("sqa3d", 20)])
def test_real_annotations_convert_as_published(real: Path, name: str, shared: int) -> None:
    ours = {record["id"]: record for record in TASKS[name].convert(real, "val")}
    published = json.loads((REAL / f"{name}_val_llava_style.json").read_text())
    found = [record for record in published if record["id"] in ours]
    assert len(found) == shared
    assert all(ours[record["id"]] == record for record in found)


def test_real_scanrefer_annotations_convert(real: Path) -> None:
    notes = json.loads((REAL / "ScanRefer_filtered_val.json").read_text())
    boxes = {f"scannet/{note['scene_id']}": [[float(i), 0, 0, 0.5, 0.5, 0.5] for i in range(200)] for note in notes}
    (real / "metadata").mkdir()
    for kind in ("gt", "pred"):
        (real / f"metadata/scannet_val_{kind}_box.json").write_text(json.dumps(boxes))
    (real / "scannet/meta_data").mkdir(parents=True)
    (real / "scannet/meta_data/scannetv2-labels.combined.tsv").write_text("raw_category\tnyu40id\nchair\t5\n")
    records = TASKS["scanrefer"].convert(real, "val")
    assert [record["box"][0] for record in records] == [float(note["object_id"]) for note in notes]
    captions = TASKS["scan2cap"].convert(real, "val")
    assert len(captions) == len({(note["scene_id"], note["object_id"]) for note in notes})
    assert sum(len(record["annotations"]) for record in captions) == len(notes)
    published = json.loads((REAL / "scan2cap_val_llava_style.json").read_text())
    assert list(captions[0]) == list(published[0]) and captions[0]["metadata"].keys() == published[0]["metadata"].keys()
    assert captions[0]["conversations"][0] == published[0]["conversations"][0]


def test_published_captions_come_back(tmp_path: Path) -> None:
    """The published records tell what ScanRefer's file and the boxes held: all of one scan, the start of another."""
    if not REAL.exists():
        pytest.skip(f"no real annotations at {REAL}")
    published = json.loads((REAL / "scan2cap_val_llava_style.json").read_text())
    notes: list[dict | None] = [None] * sum(len(record["annotations"]) for record in published)
    boxes: dict[str, dict[str, list]] = {"gt": {}, "pred": {}, "ids": {}}

    def note(record: dict, text: str, ann_id: str) -> dict:
        told = record["metadata"]
        scene = record["video"].removeprefix("scannet/")
        known = {"scene_id": scene, "object_id": told["object_id"], "eval_type": told["question_type"]}
        return {**known, "ann_id": ann_id, "description": text}

    for record in published:  # an id is the place of the object's first description
        notes[record["id"]] = note(record, record["annotations"][0], record["metadata"]["ann_id"])
        for kind, value in (
            ("gt", record["gt_box"]),
            ("pred", record["box_input"]),
            ("ids", int(record["metadata"]["object_id"])),
        ):
            boxes[kind].setdefault(record["video"], []).extend([value] * (value is not None))
    others = iter([note(record, text, "other") for record in published for text in record["annotations"][1:]])
    notes = [next(others) if item is None else item for item in notes]
    for name, content in {
        "benchmark/scanrefer/ScanRefer_filtered_val.json": notes,
        "metadata/scannet_val_gt_box.json": boxes["gt"],
        "metadata/scannet_val_pred_box.json": boxes["pred"],
        "metadata/scannet_val_gt_object_ids.json": boxes["ids"],
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(json.dumps(content))
    assert TASKS["scan2cap"].convert(tmp_path, "val") == published


def test_published_records_are_read(real: Path) -> None:
    (real / "processed").mkdir()
    for name in ("scan2cap", "scanqa", "sqa3d"):
        shutil.copyfile(REAL / f"{name}_val_llava_style.json", real / f"processed/{name}_val_llava_style.json")
        samples = TASKS[name].samples(real, "val")
        assert len(samples) == 20 and all(s.answer for s in samples)
    assert sum(s.coord is None for s in TASKS["scan2cap"].samples(real, "val")) == 2
