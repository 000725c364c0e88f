"""ScanRefer (Chen et al. 2020): find the one object that a description is about."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from llava.captures.scannet import read_label_table
from llava.fields import BOX, NAME
from llava.geometry.boxes import corners
from llava.metrics.grounding import best_object, pair_iou
from llava.resumable import read_json
from llava.tasks.task import Record, Task, check_gold, object_box, percent, read_objects, record
from llava.types import Prediction

QUESTION = "Identify the object according to the following description.\n"
THRESHOLDS = (0.25, 0.5)

# nyu40 ids of the 18 classes ScanRefer counts distractors in; whatever else there is counts as the last.
CLASSES = (3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 14, 16, 24, 28, 33, 34, 36, 39)


def read_annotations(data: Path, split: str) -> list[Record] | None:
    """ScanRefer's annotations with `eval_type` "unique" or "multiple"; None when the split is not there.

    The test split's objects are not public, so that what they are one of several of is "unknow".
    """
    path = annotation_file(data, split)
    if not path.exists():
        return None
    items = read_json(path)
    if split == "test":
        return [{**item, "eval_type": "unknow"} for item in items]
    if all("eval_type" in item for item in items):
        return items
    return _add_eval_types(items, read_label_table(data / "scannet/meta_data/scannetv2-labels.combined.tsv"))


def annotation_file(data: Path, split: str) -> Path:
    return data / "benchmark" / "scanrefer" / f"ScanRefer_filtered_{split}.json"


def _add_eval_types(items: list[Record], nyu40: dict[str, int]) -> list[Record]:
    """Annotations of an object are "multiple" when the split describes another object of its class in the scene.

    Only described objects count, not all of the scan: this is how ScanRefer's published numbers were made.
    """
    classes = {}
    for item in items:
        label = nyu40.get(item["object_name"].replace("_", " "), CLASSES[-1])
        classes[item["scene_id"], item["object_id"]] = label if label in CLASSES else CLASSES[-1]
    counts = Counter((scene, label) for (scene, _), label in classes.items())

    def eval_type(item: Record) -> str:
        label = classes[item["scene_id"], item["object_id"]]
        return "unique" if counts[item["scene_id"], label] == 1 else "multiple"

    return [{**item, "eval_type": eval_type(item)} for item in items]


def convert(data: Path, split: str) -> list[Record] | None:
    """One record an annotation, `box` being the ground truth's; null, with no answer, in the test split."""
    items = read_annotations(data, split)
    if items is None:
        return None
    hidden, source = split == "test", annotation_file(data, split)
    objects = {} if hidden else read_objects(data, split)
    return [
        record(
            i,
            item["scene_id"],
            QUESTION + item["description"].capitalize(),
            None if hidden else "<ground>",
            {
                "dataset": "scanrefer",
                "question_type": item["eval_type"],
                "ann_id": item["ann_id"],
                "object_id": item["object_id"],
            },
            {"box": None if hidden else object_box(objects, item["scene_id"], item["object_id"], source, i)},
        )
        for i, item in enumerate(items)
    ]


def answer(prediction: Prediction) -> Record:
    """The best real object; no box at all (and IoU 0) where the scene offered none."""
    sample, best = prediction.sample, best_object(prediction.scores)
    box = None if best is None else [float(value) for value in prediction.objects[best]]
    extra = {"pred_boxes": [] if box is None else [box]}
    if sample.answer is None:  # a test split
        return {
            "pred_response": box,
            "gt_response": None,
            "extra": {**extra, "object_id": sample.meta["object_id"], "ann_id": sample.meta["ann_id"]},
        }
    gold = sample.boxes[0].tolist()
    extra |= {"gt_boxes": [gold], "ious": [0.0 if box is None else pair_iou(box, gold)]}
    return {"pred_response": box, "gt_response": gold, "extra": extra}


def score(records: Sequence[Record], data: Path | None = None) -> dict[str, float]:
    """Accuracy at IoU 0.25 and 0.5: overall, and over unique and multiple objects where there are any."""
    check_gold(records)
    ious = [0.0 if r["pred_response"] is None else pair_iou(r["pred_response"], r["gt_response"]) for r in records]
    scores = {}
    for part in ("", "unique", "multiple"):
        found = [iou for iou, r in zip(ious, records, strict=True) if part in ("", r["question_type"])]
        for threshold in THRESHOLDS if found else ():
            scores[f"{part}_acc@{threshold}".lstrip("_")] = percent([iou >= threshold for iou in found])
    return scores


def submission(records: Sequence[Record]) -> list[Record]:
    """What ScanRefer's benchmark server takes: eight corners a description, all zero where the scene offered no box."""
    nowhere = [0.0] * 6
    return [
        {
            "scene_id": line["scene"].removeprefix("scannet/"),
            "object_id": line["object_id"],
            "ann_id": line["ann_id"],
            "bbox": corners(np.array([line["pred_response"] or nowhere]))[0].tolist(),
        }
        for line in records
    ]


TASK = Task(
    name="scanrefer",
    dataset="scanrefer",
    kind="box",
    splits=("train", "val", "test"),
    origin="https://github.com/daveredrum/ScanRefer",
    annotations=("scanrefer/ScanRefer_filtered_{}.json",),
    files=("scanrefer_vg",),
    max_new_tokens=0,
    headline={
        "acc@0.25": "Acc@0.25",
        "acc@0.5": "Acc@0.5",
        "unique_acc@0.25": "unique @0.25",
        "multiple_acc@0.25": "multiple @0.25",
    },
    published={"acc@0.25": 58.1, "acc@0.5": 51.7},
    convert=convert,
    answer=answer,
    score=score,
    fields={"pred_response": BOX.or_null(), "gt_response": BOX.or_null(), "object_id": NAME, "ann_id": NAME},
    annotated={"train": (36_665, 562), "val": (9_508, 141)},
    recorded={"train": 36_665, "val": 9_508},
    submission=submission,
)
