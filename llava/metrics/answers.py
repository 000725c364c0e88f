"""Exact match of short answers, strict and refined, and the best score that not looking can reach."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence

from llava.types import Sample

_NUMBERS = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
    "twenty",
]

# Spellings that occur among SQA3D's answers, and what its evaluation takes them for.
_WORDS = {
    "letf": "left",
    "let": "left",
    "tehre": "there",
    "rigth": "right",
    "rght": "right",
    "behine": "behind",
    "tv": "TV",
    "chai": "chair",
    "wasing": "washing",
    "waslked": "walked",
    "oclock": "o'clock",
    "none": "zero",
    **{str(number): word for number, word in enumerate(_NUMBERS)},
}
_WORD = re.compile(r"\b(" + "|".join(sorted(_WORDS, key=len, reverse=True)) + r")\b")


def clean(answer: str) -> str:
    """An answer as SQA3D and LEO compare it: lower case, no punctuation or article, numbers as words."""
    text = re.sub(r" {2,}", " ", answer.lower().strip(" "))
    text = re.sub(r"[^a-z0-9,'\s\-:]+", "", text)
    text = re.sub(r"\bo' +clock\b", "o'clock", text)
    text = _WORD.sub(lambda found: _WORDS[found[0]], text)
    text = re.sub(r"\b([a-zA-Z]+)[0-9]\b", r"\1", text)
    # one article after the other, each with the word behind it: of "a a chair" one is left, as published
    for article in ("a", "an", "the"):
        text = re.sub(rf"\b{article} ([a-zA-Z]+)", r"\1", text)
    return re.sub(r"\bbackwards\b", "backward", text)


def exact(prediction: str, answers: Sequence[str]) -> bool:
    """Whether the prediction is one of the answers, letter for letter: ScanQA's published exact match."""
    return prediction in answers


def cleaned_exact(prediction: str, answers: Sequence[str]) -> bool:
    """Whether the cleaned prediction is one of the cleaned answers: SQA3D's published exact match."""
    return clean(prediction) in {clean(answer) for answer in answers}


def refined(prediction: str, answers: Sequence[str]) -> bool:
    """Whether, cleaned and without blanks, the prediction is within an answer or an answer within it.

    The refined exact match of LEO (Huang et al. 2024), to the letter: one that cleans to nothing is within everything,
    so that an empty prediction always matches (`says_nothing` tells of it).
    """
    said = "".join(clean(prediction).split())
    return any(said in answer or answer in said for answer in ("".join(clean(text).split()) for text in answers))


def says_nothing(prediction: str) -> bool:
    """Whether nothing is left of a prediction when it is cleaned."""
    return not clean(prediction).strip()


def question_kind(sample: Sample) -> str:
    """The sample's question type; where the benchmark gives none, the question's first two words."""
    kind = sample.meta.get("question_type", "unknow")
    return " ".join(sample.question.lower().split()[:2]) if kind == "unknow" else kind


def majority(train: Sequence[Sample], val: Sequence[Sample]) -> dict[str, dict[str, float]]:
    """Exact match in % of each task's most common training answer by question kind: the score without looking.

    Give samples of tasks with short answers; others have no meaning here. Result: {task: {"em", "em_refined"}},
    strict as the task's own score counts it (letter for letter where the sample lists several answers, else
    cleaned). A kind that training never saw gets the task's most common answer.
    """
    by_kind: dict[tuple[str, str | None], Counter] = defaultdict(Counter)
    for sample in train:
        for kind in (question_kind(sample), None):
            by_kind[sample.task, kind][sample.answer] += 1
    hits: dict[str, list[tuple[bool, bool]]] = defaultdict(list)
    for sample in val:
        counts = by_kind.get((sample.task, question_kind(sample))) or by_kind.get((sample.task, None))
        if counts is None:
            raise ValueError(f"no training sample of task {sample.task!r} to take the most common answer from")
        guess = counts.most_common(1)[0][0]
        answers = sample.meta.get("answers")
        strict = exact(guess, answers) if answers else cleaned_exact(guess, [sample.answer])
        hits[sample.task].append((strict, refined(guess, answers or [sample.answer])))
    return {
        task: {key: 100.0 * sum(pair[i] for pair in pairs) / len(pairs) for i, key in enumerate(("em", "em_refined"))}
        for task, pairs in hits.items()
    }
