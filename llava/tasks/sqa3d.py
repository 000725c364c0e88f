"""SQA3D (Ma et al. 2023): a question asked from a described position in the scan; one short answer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from llava.fields import TEXT
from llava.metrics.answers import cleaned_exact, refined
from llava.resumable import read_json
from llava.tasks.task import Record, Task, check_gold, check_scene, known_scenes, percent, record
from llava.types import Prediction

INSTRUCTION = " Answer the question using a single word or phrase."
WORDS = ("what", "is", "how", "can", "which")  # what questions start with; the rest are "others"


def question_word(question: str) -> str:
    """The kind of a question by how it starts."""
    start = question.strip().lower()
    return next((word for word in WORDS if start.startswith(word)), "others")


def convert(data: Path, split: str) -> list[Record] | None:
    """Training: a record for every wording of the situation, the given one last. Otherwise one a question."""
    folder = data / "benchmark" / "sqa_task" / "balanced"
    source = folder / f"v1_balanced_questions_{split}_scannetv2.json"
    answer_source = folder / f"v1_balanced_sqa_annotations_{split}_scannetv2.json"
    if not (source.exists() and answer_source.exists()):
        return None
    answers = {item["question_id"]: item["answers"][0]["answer"] for item in read_json(answer_source)["annotations"]}
    known, records = known_scenes(data), []
    for item in read_json(source)["questions"]:
        number = item["question_id"]
        check_scene(f"scannet/{item['scene_id']}", known, source, number)
        if number not in answers:
            raise ValueError(f"{answer_source}: no annotation for question {number} of {source.name}: get both again")
        situations = [item["situation"]]
        if split == "train":
            situations = [*item["alternative_situation"], *situations]
        metadata = {"dataset": "sqa3d", "question_type": question_word(item["question"])}
        for situation in situations:
            text = f" {situation} {item['question']}{INSTRUCTION}"
            records.append(record(number, item["scene_id"], text, answers[number], metadata))
    return records


def answer(prediction: Prediction) -> Record:
    """The text beside the gold answer."""
    return {"pred_response": prediction.text.strip(), "gt_response": prediction.sample.answer}


def score(records: Sequence[Record], data: Path | None = None) -> dict[str, float]:
    """Exact match of cleaned answers (published as EM) and its refined form: overall and by question word."""
    check_gold(records)
    scores = {}
    for name, match in (("em", cleaned_exact), ("em_refined", refined)):
        hits = [match(line["pred_response"], [line["gt_response"]]) for line in records]
        scores[name] = percent(hits)
        for word in (*WORDS, "others"):
            found = [hit for hit, line in zip(hits, records, strict=True) if line["question_type"] == word]
            if found:
                scores[f"{word}_{name}"] = percent(found)
    return scores


TASK = Task(
    name="sqa3d",
    dataset="sqa3d",
    kind="text",
    splits=("train", "val", "test"),
    origin="https://github.com/SilongYong/SQA3D",
    annotations=tuple(
        f"sqa_task/balanced/v1_balanced_{kind}_{{}}_scannetv2.json" for kind in ("questions", "sqa_annotations")
    ),
    files=("sqa3d",),
    max_new_tokens=64,
    headline={"em": "EM", "em_refined": "EM refined"},
    published={"em": 58.6},
    published_split="test",
    convert=convert,
    answer=answer,
    score=score,
    fields={"pred_response": TEXT, "gt_response": TEXT.or_null()},
    protocols={"published": "(.*_)?em", "refined": "(.*_)?em_refined"},
    annotated={"train": (26_623, None), "val": (3_261, None), "test": (3_519, None)},
    recorded={"val": 3_261, "test": 3_519},
)
