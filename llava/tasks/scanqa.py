"""ScanQA (Azuma et al. 2022): short answers to questions about a scan, each with several right answers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from llava.fields import TEXT, TEXTS
from llava.metrics.answers import cleaned_exact, exact, refined
from llava.metrics.captions import score_captions
from llava.resumable import read_json
from llava.tasks.task import Record, Task, check_gold, check_scene, known_scenes, percent, record
from llava.types import Prediction

INSTRUCTION = " Answer the question simply."


def convert(data: Path, split: str) -> list[Record] | None:
    """Training: one record an answer. Otherwise one a question, its first answer said and all of them listed; the
    two test splits have no answers.
    """
    source = data / "benchmark" / "scanqa" / f"ScanQA_v1.0_{split}.json"
    if not source.exists():
        return None
    known, records = known_scenes(data), []
    for item in read_json(source):
        check_scene(f"scannet/{item['scene_id']}", known, source, item["question_id"])
        answers = item.get("answers") or [None]
        for i, said in enumerate(answers if split == "train" else answers[:1]):
            metadata = {"dataset": "scanQA", "question_type": "unknow"}
            if split != "train" and said is not None:
                metadata["answers"] = answers
            name = f"scanqa_{item['question_id']}_{i}"
            records.append(record(name, item["scene_id"], f" {item['question']}{INSTRUCTION}", said, metadata))
    return records


def answer(prediction: Prediction) -> Record:
    """The text, the first gold answer, and all gold answers."""
    sample = prediction.sample
    gold = sample.meta.get("answers") or ([] if sample.answer is None else [sample.answer])
    return {
        "pred_response": prediction.text.strip(),
        "gt_response": sample.answer,
        "extra": {"answers": list(gold)},
    }


def score(records: Sequence[Record], data: Path | None = None) -> dict[str, float]:
    """Exact match (letter for letter as published, cleaned and refined as LEO's) and the caption scores against all
    answers.

    Lines without `answers`, as the reference writes them, are looked up in the processed val split of `data`.
    """
    check_gold(records)
    answers = _all_answers(records, data)
    said = [line["pred_response"] for line in records]
    captions, _ = score_captions([[_cut(a) for a in gold] for gold in answers], [_cut(text) for text in said])
    pairs = list(zip(said, answers, strict=True))
    rules = {"em": exact, "em_cleaned": cleaned_exact, "em_refined": refined}
    return {**{name: percent([rule(*pair) for pair in pairs]) for name, rule in rules.items()}, **captions}


def _cut(text: str) -> str:
    """ScanQA's texts are scored in their own case, without the full stop at the end."""
    return text.rstrip(".")


def _all_answers(records: Sequence[Record], data: Path | None) -> list[list[str]]:
    if all("answers" in line for line in records):
        return [line["answers"] for line in records]
    path = None if data is None else TASK.processed(data, "val")
    if path is None or not path.exists():
        raise ValueError(f"these answers do not list all right answers: give the data folder with {path or 'ScanQA'}")
    known = {item["id"]: item["metadata"]["answers"] for item in read_json(path)}
    found = []
    for line in records:
        name = line["sample_id"].rpartition("_")[0] + "_0"  # whatever answer a line was about, the question is _0
        if name not in known:
            raise ValueError(f"{path} has no question {name}: these answers are about another split or version")
        found.append(known[name])
    return found


def submission(records: Sequence[Record]) -> list[Record]:
    """What ScanQA's benchmark server takes: the answer as the only one of ten, and a box, of which we have none."""
    return [
        {
            "scene_id": line["scene"].removeprefix("scannet/"),
            "question_id": line["sample_id"].removeprefix("scanqa_").rpartition("_")[0],
            "answer_top10": [line["pred_response"]],
            "bbox": [[0.0] * 3] * 8,
        }
        for line in records
    ]


TASK = Task(
    name="scanqa",
    dataset="scanQA",
    kind="text",
    splits=("train", "val", "test_w_obj", "test_wo_obj"),
    origin="https://github.com/ATR-DBI/ScanQA",
    annotations=("scanqa/ScanQA_v1.0_{}.json",),
    files=("scanqa",),
    max_new_tokens=64,
    headline={"em": "EM", "em_refined": "EM refined", "cider": "CIDEr"},
    published={"cider": 102.1, "em": 30.1},
    convert=convert,
    answer=answer,
    score=score,
    fields={"sample_id": TEXT, "pred_response": TEXT, "gt_response": TEXT.or_null(), "answers": TEXTS},
    protocols={"published": r"em|bleu\d|cider|meteor|rouge_l", "strict": "em", "refined": "em_cleaned|em_refined"},
    annotated={
        "train": (25_563, 562),
        "val": (4_675, 71),
        "test_w_obj": (4_976, None),
        "test_wo_obj": (6_149, None),
    },
    recorded={"val": 4_675, "test_w_obj": 4_976, "test_wo_obj": 6_149},
    submission=submission,
)
