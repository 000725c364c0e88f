"""Scan2Cap (Chen et al. 2021): describe the object at a given place. Its texts are ScanRefer's descriptions."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from llava.fields import BOX, NUMBERS, TEXT, TEXTS
from llava.geometry.boxes import corners, iou
from llava.metrics.captions import score_captions
from llava.metrics.grounding import pair_iou
from llava.resumable import read_json
from llava.tasks.scanrefer import CLASSES, THRESHOLDS, annotation_file, read_annotations
from llava.tasks.task import Record, Task, check_gold, object_box, percent, read_boxes, read_objects, record
from llava.types import Prediction, Sample

QUESTION = " Given an object located at <coord> , describe the object in detail."
PROPOSAL_IOU = 0.5  # a detector's box stands for an object from here on

COLORS = [
    "black",
    "white",
    "brown",
    "gray",
    "grey",
    "red",
    "blue",
    "green",
    "yellow",
    "orange",
    "purple",
    "pink",
    "beige",
    "tan",
    "silver",
]
SYNONYMS = (
    {"couch", "sofa"},
    {"trash can", "garbage can", "bin", "trash bin"},
    {"tv", "television"},
    {"refrigerator", "fridge"},
    {"gray", "grey"},
)


def convert(data: Path, split: str) -> list[Record] | None:
    """Training: one record an annotation, asked at the true box. Otherwise one an object, with all its annotations,
    asked at the proposal that overlaps it most, or nowhere (`box_input` null) when none reaches IoU 0.5. The test split
    asks at every proposal of its scenes, for nobody knows what is where.
    """
    items = read_annotations(data, split)
    if items is None:
        return None
    if split == "test":
        known = (data / "metadata" / "scannet_test_pred_box.json").exists()  # not without a detector's masks
        return _ask_everywhere(read_boxes(data, split, "pred")) if known else None
    objects, source = read_objects(data, split), annotation_file(data, split)
    proposals = None if split == "train" else read_boxes(data, split, "pred")
    records: dict[object, Record] = {}
    for i, item in enumerate(items):
        scene_id, text = item["scene_id"], item["description"]
        key = i if split == "train" else (scene_id, item["object_id"])
        if key in records:
            records[key]["annotations"].append(text)
            continue
        box = object_box(objects, scene_id, item["object_id"], source, i)
        given = box if proposals is None else _nearest(box, proposals.get(f"scannet/{scene_id}"), scene_id, source)
        records[key] = record(
            i,
            scene_id,
            QUESTION,
            text.capitalize(),
            {
                "dataset": "scan2cap",
                "question_type": item["eval_type"],
                "ann_id": item["ann_id"],
                "object_id": item["object_id"],
            },
            {"box_input": given, "gt_box": box},
            {} if split == "train" else {"annotations": [text]},
        )
    return list(records.values())


def _ask_everywhere(proposals: dict[str, list]) -> list[Record]:
    return [
        record(
            f"{scene.removeprefix('scannet/')}_{number}",
            scene.removeprefix("scannet/"),
            QUESTION,
            None,
            {"dataset": "scan2cap", "question_type": "unknow", "object_id": str(number)},
            {"box_input": box},
        )
        for scene, boxes in proposals.items()
        for number, box in enumerate(boxes)
    ]


def _nearest(box: list[float], proposals: list | None, scene_id: str, source: Path) -> list[float] | None:
    """The proposal with the largest IoU, if that is enough."""
    if proposals is None:
        raise ValueError(f"{source} names scene {scene_id!r}, which has no proposals: run extract_pred_box.py for it")
    if not proposals:
        return None
    overlaps = iou(np.array([box]), np.array(proposals))[0]
    best = int(np.argmax(overlaps))
    return proposals[best] if overlaps[best] >= PROPOSAL_IOU else None


def add_object_names(data: Path, split: str, samples: list[Sample]) -> list[Sample]:
    """Give each sample its object's name where ScanRefer's annotations are at hand: the records do not hold it."""
    source = annotation_file(data, split)
    if split == "test" or not source.exists():
        return samples
    names = {(f"scannet/{a['scene_id']}", str(a["object_id"])): a["object_name"] for a in read_json(source)}
    return [
        replace(s, meta={**s.meta, "object_name": names[key]})
        if (key := (s.scene, str(s.meta["object_id"]))) in names
        else s
        for s in samples
    ]


def answer(prediction: Prediction) -> Record:
    """The text, or "" where there was no proposal to ask about; the gold texts; the proposal's IoU."""
    sample = prediction.sample
    if sample.answer is None:  # a test split
        return {"pred_response": prediction.text.strip(), "gt_response": None, "extra": {"box": sample.coord.tolist()}}
    gold_box = sample.meta.get("gt_box")
    extra = {"object_name": sample.meta["object_name"]} if "object_name" in sample.meta else {}
    if gold_box is not None:
        box = None if sample.coord is None else sample.coord.tolist()
        overlap = 0.0 if box is None else pair_iou(box, gold_box)
        extra |= {"pred_boxes": [] if box is None else [box], "gt_boxes": [gold_box], "ious": [overlap]}
    return {
        "pred_response": "" if sample.coord is None else (prediction.text or "").strip(),
        "gt_response": sample.meta.get("annotations") or [sample.answer],
        "extra": extra,
    }


def score(records: Sequence[Record], data: Path | None = None) -> dict[str, float]:
    """Caption scores as published, and "@0.25", "@0.5" with captions of worse proposals emptied; then class_word,
    class_first and color_word: the share of captions with the object's class, with it as the first class named,
    and with its colour (over objects whose class or colour is known).

    The published scores have no such gate of their own: records ask only at proposals of IoU 0.5 and more. Lines
    without `ious`, as the reference writes them, are looked up in the processed val split of `data`.
    """
    check_gold(records)
    said = [line["pred_response"] for line in records]
    gold = [[_cut(text) for text in line["gt_response"]] for line in records]
    scores, _ = score_captions(gold, [_cut(text) for text in said])
    gated, kept_before, overlaps = {}, said, _overlaps(records, data)
    if overlaps is not None:
        totals = scores
        for threshold in THRESHOLDS:
            kept = [text if overlap >= threshold else "" for text, overlap in zip(said, overlaps, strict=True)]
            if kept != kept_before:
                totals, kept_before = score_captions(gold, [_cut(text) for text in kept])[0], kept
            gated |= {f"{name}@{threshold}": value for name, value in totals.items()}
    return {**scores, **gated, **_word_scores(records)}


def _overlaps(records: Sequence[Record], data: Path | None) -> list[float] | None:
    """How well the box that each line was asked at overlaps its object; None where nothing tells."""
    if all("ious" in line for line in records):
        return [line["ious"][0] for line in records]
    path = None if data is None else TASK.processed(data, "val")
    if path is None or not path.exists():
        return None
    known = {item["id"]: item for item in read_json(path)}
    unknown = [line["sample_id"] for line in records if line["sample_id"] not in known]
    if unknown:
        raise ValueError(f"{path} has no record {unknown[0]}: these answers are about another split or version")
    asked = [known[line["sample_id"]] for line in records]
    return [pair_iou(item["box_input"], item["gt_box"]) if item["box_input"] else 0.0 for item in asked]


def _cut(text: str) -> str:
    """The published way to cut a caption into words."""
    return f"sos {text} eos".replace(".", " . ").replace(",", " , ").lower()


def _word_scores(records: Sequence[Record]) -> dict[str, float]:
    scores = {}
    named = [(line["pred_response"], class_names(line["object_name"])) for line in records if "object_name" in line]
    if named:
        known = set().union(*(names for _, names in named))
        scores["class_word"] = percent([_mentions(text, names) != [] for text, names in named])
        scores["class_first"] = percent([not names.isdisjoint(_mentions(text, known)[:1]) for text, names in named])
    colors = [(line, color) for line in records if (color := gold_color(line["gt_response"]))]
    if colors:
        scores["color_word"] = percent([color in _colors(line["pred_response"]) for line, color in colors])
    return scores


def class_names(object_name: str) -> set[str]:
    """What a caption may call an object: its name, its name's last word ("office chair": "chair"), their synonyms."""
    name = object_name.replace("_", " ").lower()
    names = {name} if name.endswith(" can") else {name, name.split()[-1]}
    return names.union(*(group for group in SYNONYMS if group & names))


def gold_color(texts: Sequence[str]) -> str | None:
    """The colour that most texts about an object name; None when there is a tie (one may be a neighbour's)."""
    ranking = Counter(color for text in texts for color in set(_colors(text))).most_common(2)
    if not ranking or (len(ranking) == 2 and ranking[0][1] == ranking[1][1]):
        return None
    return ranking[0][0]


def _colors(text: str) -> list[str]:
    return [{"grey": "gray"}.get(word, word) for word in _mentions(text, COLORS)]


def _mentions(text: str, names: Sequence[str] | set[str]) -> list[str]:
    """The names that a text contains as whole words (one or many of them), in order, the longest first."""
    pattern = "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True))
    return [found[1] for found in re.finditer(rf"\b({pattern})s?\b", text.lower())] if names else []


def submission(records: Sequence[Record]) -> dict[str, list[Record]]:
    """What Scan2Cap's benchmark server takes: {scene: captions with eight corners}. What class a proposal is we do not
    know, so that all 18 are as likely; that it is an object is taken for sure.
    """
    scenes: dict[str, list[Record]] = {}
    for line in records:
        scenes.setdefault(line["scene"].removeprefix("scannet/"), []).append(
            {
                "caption": " ".join(_cut(line["pred_response"]).split()),
                "box": corners(np.array(line["box"])).tolist(),
                "sem_prob": [1 / len(CLASSES)] * len(CLASSES),
                "obj_prob": [0.0, 1.0],
            }
        )
    return scenes


TASK = Task(
    name="scan2cap",
    dataset="scan2cap",
    kind="text",
    splits=("train", "val", "test"),
    origin="https://github.com/daveredrum/ScanRefer",
    annotations=("scanrefer/ScanRefer_filtered_{}.json",),
    files=("scan2cap",),
    max_new_tokens=128,
    headline={"cider@0.5": "CIDEr@0.5", "bleu4@0.5": "BLEU-4@0.5", "class_word": "class word"},
    published={"cider@0.5": 83.8, "bleu4@0.5": 41.3},
    record_boxes={"train": "gt", "val": "pred", "test": "pred"},
    convert=convert,
    answer=answer,
    score=score,
    fields={"pred_response": TEXT, "gt_response": TEXTS.or_null(), "ious": NUMBERS, "object_name": TEXT, "box": BOX},
    protocols={"published": r"bleu\d|cider|meteor|rouge_l", "strict": ".*@.*"},
    annotated={"train": (36_665, 562), "val": (9_508, 141)},
    recorded={"train": 36_665, "val": 2_068},
    submission=submission,
    enrich=add_object_names,
)
