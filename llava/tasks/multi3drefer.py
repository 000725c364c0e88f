"""Multi3DRefer (Zhang et al. 2023): find all objects that a description is about: none, one or many."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from llava.fields import BOXES, NUMBERS, POSITIVE
from llava.metrics.grounding import TEMPERATURE, close_objects, likely_objects, set_f1
from llava.resumable import read_json
from llava.tasks.scanrefer import QUESTION, THRESHOLDS
from llava.tasks.task import Record, Task, check_gold, object_box, percent, read_objects, record
from llava.types import Prediction

HINT = "\nThere may be no corresponding object, or there may be one or more objects."
KINDS = ("zt_w_d", "zt_wo_d", "st_w_d", "st_wo_d", "mt")  # zero, single or multi target, with / without distractors


def convert(data: Path, split: str) -> list[Record] | None:
    """One record an annotation, `box` being the list of ground-truth boxes (maybe empty)."""
    source = data / "benchmark" / "multi3drefer" / f"multi3drefer_{split}.json"
    if not source.exists():
        return None
    objects = read_objects(data, split)
    return [
        record(
            i,
            item["scene_id"],
            QUESTION + item["description"].capitalize() + HINT,
            "<ground>",
            {
                "dataset": "multi3drefer",
                "question_type": item["eval_type"],
                "ann_id": item["ann_id"],
                "object_id": item["object_ids"],
            },
            {"box": [object_box(objects, item["scene_id"], number, source, i) for number in item["object_ids"]]},
        )
        for i, item in enumerate(read_json(source))
    ]


def answer(prediction: Prediction) -> Record:
    """All objects with their scores, as the reference writes them, how to read these, and the chosen objects."""
    scores = [float(value) for value in prediction.scores]
    temperature = TEMPERATURE if prediction.temperature is None else prediction.temperature
    objects = [[float(value) for value in box] for box in prediction.objects]
    gold = prediction.sample.boxes.tolist()
    return {
        "scores": scores,
        "objects": objects,
        "gt_response": gold,
        "extra": {
            "temperature": temperature,
            "pred_boxes": [objects[i] for i in likely_objects(scores, temperature)],
            "gt_boxes": gold,
        },
    }


def score(records: Sequence[Record], data: Path | None = None) -> dict[str, float]:
    """F1 at IoU 0.25 and 0.5, overall and by kind of target, twice: "f1" with the objects chosen as published, by
    probability mass, and "close_f1" with ours (`close_objects`), which can find several targets it is sure of.

    Lines without `temperature`, as the reference writes them, are read with the published one. ValueError: a line has
    not one score more than objects.
    """
    check_gold(records)
    for line in records:
        if len(line["scores"]) != len(line["objects"]) + 1:
            raise ValueError(
                f"the answer to {line['sample_id']} has {len(line['scores'])} scores for {len(line['objects'])} "
                "objects: expected one an object, and one for there being no such object"
            )
    scores = {}
    for rule, choose in (("f1", likely_objects), ("close_f1", close_objects)):
        values = []
        for line in records:
            indices = choose(line["scores"], line.get("temperature", TEMPERATURE))
            chosen = [line["objects"][i] for i in indices]
            values.append(set_f1(chosen, line["gt_response"], THRESHOLDS))
        for part in ("", *KINDS):
            found = [f1 for f1, line in zip(values, records, strict=True) if part in ("", line["question_type"])]
            for column, threshold in enumerate(THRESHOLDS if found else ()):
                scores[f"{part}_{rule}@{threshold}".lstrip("_")] = percent([f1[column] for f1 in found])
    return scores


TASK = Task(
    name="multi3drefer",
    dataset="multi3drefer",
    kind="box",
    splits=("train", "val"),
    origin="https://3dlg-hcvc.github.io/multi3drefer",
    annotations=("multi3drefer/multi3drefer_{}.json",),
    files=("multi3drefer", "multi3drefer_vg"),
    max_new_tokens=0,
    headline={"f1@0.25": "F1@0.25", "f1@0.5": "F1@0.5", "close_f1@0.25": "F1@0.25, our choice"},
    published={"f1@0.25": 58.0, "f1@0.5": 52.7},
    convert=convert,
    answer=answer,
    score=score,
    fields={"scores": NUMBERS, "objects": BOXES, "gt_response": BOXES.or_null(), "temperature": POSITIVE},
    protocols={"published": rf"(({'|'.join(KINDS)})_)?f1@.*"},
    annotated={"train": (43_838, None), "val": (11_120, None)},
    recorded={"train": 43_838, "val": 11_120},
)
