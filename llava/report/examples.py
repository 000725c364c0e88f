"""Which answers to show: the best and the worst of a benchmark, spread over kinds of question and over scenes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from zlib import crc32

import numpy as np

from llava.geometry.boxes import iou
from llava.metrics.answers import refined


@dataclass(frozen=True)
class Example:
    """One answer beside what was wanted."""

    task: str
    id: str
    scene: str | None
    kind: str  # the benchmark's question type
    question: str
    said: str | None  # None: the answer is boxes
    wanted: tuple[str, ...]
    true_boxes: np.ndarray  # (m, 6) metres
    predicted_boxes: np.ndarray  # (p, 6) metres
    quality: float  # 0..1, how good the answer is; see `quality`
    good: bool


def pick_examples(task: str, answers: Sequence[dict[str, Any]], count: int) -> list[Example]:
    """Up to `count` good and `count` bad answers, good ones first; the choice depends on the answers alone."""
    questions = own_words([line.get("question") or line["prompt"] for line in answers])
    judged = [(quality(line), line, question) for line, question in zip(answers, questions, strict=True)]
    good = _spread([row for row in judged if row[0] >= 0.5], count, best=True)
    bad = _spread([row for row in judged if row[0] < 0.5], count, best=False)
    return [_example(task, *row, good=True) for row in good] + [_example(task, *row, good=False) for row in bad]


def quality(line: dict[str, Any]) -> float:
    """How good an answer is, 0..1, by what the line holds.

    Boxes: the summed IoU of matched pairs over the larger number of boxes (1 when there rightly are none). Short
    answers: refined exact match. Captions (several reference texts): ROUGE-L.
    """
    if "pred_response" not in line or not isinstance(line["pred_response"], str):
        return box_agreement(_boxes(line, "pred_boxes"), _boxes(line, "gt_boxes"))
    wanted = _wanted(line)
    if isinstance(line["gt_response"], list):
        from pycocoevalcap.rouge.rouge import Rouge

        return float(Rouge().calc_score([line["pred_response"].lower()], [text.lower() for text in wanted]))
    return float(refined(line["pred_response"], wanted))


def box_agreement(predicted: np.ndarray, true: np.ndarray) -> float:
    """Summed IoU of optimally matched (p, 6) and (m, 6) boxes over max(p, m); 1 when both are empty."""
    if len(predicted) == 0 or len(true) == 0:
        return float(len(predicted) == len(true))
    from scipy.optimize import linear_sum_assignment

    overlaps = iou(predicted, true)
    return float(overlaps[linear_sum_assignment(overlaps, maximize=True)].sum() / max(overlaps.shape))


def own_words(questions: Sequence[str]) -> list[str]:
    """The questions without the placeholder and without the opening and closing sentences that all of them share."""
    split = [re.split(r"(?<=[.?!])\s+|\n", q.replace("<image>", "").strip()) for q in questions]
    if len({tuple(sentences) for sentences in split}) < 2:
        return [" ".join(sentences) for sentences in split]
    while all(len(s) > 1 for s in split) and len({s[0] for s in split}) == 1:
        split = [s[1:] for s in split]
    while all(len(s) > 1 for s in split) and len({s[-1] for s in split}) == 1:
        split = [s[:-1] for s in split]
    return [" ".join(sentences) for sentences in split]


def _spread(rows: list[tuple], count: int, best: bool) -> list[tuple]:
    """The best (or worst) rows, each of a kind and a scene not yet shown as long as there are such."""
    sign = -1.0 if best else 1.0
    order = sorted(rows, key=lambda row: (sign * row[0], crc32(str(row[1]["sample_id"]).encode())))
    chosen: list[tuple] = []
    while order and len(chosen) < count:
        kinds = {row[1]["question_type"] for row in chosen}
        scenes = {row[1].get("scene") for row in chosen}
        # min is stable: among equally fresh rows the best (or worst) stays first.
        row = min(order, key=lambda row: (row[1]["question_type"] in kinds) + (row[1].get("scene") in scenes))
        order.remove(row)
        chosen.append(row)
    return chosen


def _example(task: str, score: float, line: dict[str, Any], question: str, good: bool) -> Example:
    said = line.get("pred_response")
    return Example(
        task=task,
        id=str(line["sample_id"]),
        scene=line.get("scene"),
        kind=line["question_type"],
        question=question,
        said=said if isinstance(said, str) else None,
        wanted=_wanted(line),
        true_boxes=_boxes(line, "gt_boxes"),
        predicted_boxes=_boxes(line, "pred_boxes"),
        quality=score,
        good=good,
    )


def _wanted(line: dict[str, Any]) -> tuple[str, ...]:
    texts = line.get("answers") or line["gt_response"]
    texts = [texts] if isinstance(texts, str) else texts
    return tuple(text for text in texts if isinstance(text, str))


def _boxes(line: dict[str, Any], key: str) -> np.ndarray:
    """(m, 6); ScanRefer's lines of other programs hold one box under another name."""
    other = {"pred_boxes": "pred_response", "gt_boxes": "gt_response"}[key]
    values = line.get(key, line.get(other))
    if values is None or isinstance(values, str) or any(isinstance(value, str) for value in values):
        values = []
    return np.array(values, dtype=np.float64).reshape(-1, 6)
