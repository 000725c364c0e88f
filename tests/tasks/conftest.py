"""A data folder of one training and one validation scene with all five benchmarks, made by hand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

BOXES = [[x, 0.0, 0.5, 0.8, 0.8, 1.0] for x in (0.0, 2.0, 4.0, 6.0)]
NAMES = ["office_chair", "table", "chair", "couch"]
TEXTS = [
    "a black office chair at the table",
    "the brown table. it is round, and wooden",
    "This is a black chair",
    "a red couch by the wall",
]


def write(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))


def described(scene: str, number: int, note: int, text: str) -> dict:
    return {
        "scene_id": scene,
        "object_id": str(number),
        "object_name": NAMES[number],
        "ann_id": str(note),
        "description": text,
        "token": text.split(),
    }


@pytest.fixture
def tiny_data(tmp_path: Path) -> Path:
    """Chairs 0 and 2 are of one class; object 3 of the validation scene has no good proposal."""
    root, labels = tmp_path / "data", "raw_category\tnyu40id\noffice chair\t5\nchair\t5\ntable\t7\ncouch\t6\n"
    write(root / "scannet/meta_data/scannetv2-labels.combined.tsv", labels)
    for split, scene in (("train", "scene0000_00"), ("val", "scene0001_00")):
        notes = [described(scene, i, 0, text) for i, text in enumerate(TEXTS)]
        notes.append(described(scene, 0, 1, "the black chair that rolls"))
        write(root / f"benchmark/scanrefer/ScanRefer_filtered_{split}.json", notes)
        targets = {"zt_wo_d": [], "st_wo_d": [1], "mt": [0, 2]}
        many = [
            {"scene_id": scene, "object_ids": ids, "description": f"those {kind}", "eval_type": kind, "ann_id": i}
            for i, (kind, ids) in enumerate(targets.items())
        ]
        write(root / f"benchmark/multi3drefer/multi3drefer_{split}.json", many)
        asked = [
            {
                "scene_id": scene,
                "question": q,
                "question_id": f"{split}-{scene[:-3]}-{i}",
                "answers": a,
            }
            for i, (q, a) in enumerate({"What is round?": ["table", "brown table"], "How many?": ["2", "two"]}.items())
        ]
        write(root / f"benchmark/scanqa/ScanQA_v1.0_{split}.json", asked)
        folder = root / "benchmark/sqa_task/balanced"
        questions = [
            {
                "scene_id": scene,
                "situation": "I sit.",
                "alternative_situation": ["Sitting.", "I rest."],
                "question": q,
                "question_id": i,
            }
            for i, q in enumerate(("Is it dark?", "Where is north?"))
        ]
        answers = [{"question_id": i, "answers": [{"answer": a}]} for i, a in enumerate(("no", "left"))]
        write(folder / f"v1_balanced_questions_{split}_scannetv2.json", {"questions": questions})
        write(folder / f"v1_balanced_sqa_annotations_{split}_scannetv2.json", {"annotations": answers})
        write(root / f"metadata/scannet_{split}_gt_box.json", {f"scannet/{scene}": BOXES})
        (root / "scannet/posed_images" / scene).mkdir(parents=True)
    offered = [[x + 0.05, *rest] for x, *rest in BOXES[:3]] + [[9.0, 9.0, 0.5, 1.0, 1.0, 1.0]]
    write(root / "metadata/scannet_val_pred_box.json", {"scannet/scene0001_00": offered})
    return root
