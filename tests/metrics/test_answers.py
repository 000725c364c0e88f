"""Exact match of short answers."""

from __future__ import annotations

import pytest

from llava.metrics.answers import clean, cleaned_exact, exact, majority, question_kind, refined, says_nothing
from llava.types import Sample


@pytest.mark.parametrize(
    ("raw", "cleaned"),
    [
        ("  The   Chair! ", "chair"),
        ("a table and the lamp", "table and lamp"),
        ("an 11 o clock", "eleven o clock"),
        ("ten o' clock", "ten o'clock"),
        ("Twenty-one (21)", "twenty-one 21"),
        ("0", "zero"),
        ("sofa3", "sofa"),
        ("banana", "banana"),
        ("a a chair", "a chair"),
        ("the a chair", "chair"),
        ("The an the chair", "the chair"),
        ("backwards1", "backward"),
        ("", ""),
    ],
)
def test_cleaning(raw: str, cleaned: str) -> None:
    assert clean(raw) == cleaned


def test_matches_from_strict_to_refined() -> None:
    assert exact("two", ["2", "two"]) and not exact("Two", ["2", "two"])
    assert cleaned_exact("Two.", ["2"]) and not cleaned_exact("two chairs", ["2"])
    assert refined("two chairs", ["2"]) and refined("wash room", ["the washroom"]) and not refined("three", ["2"])


@pytest.mark.parametrize("nothing", ["", " ", "?!"])
def test_an_empty_answer_is_within_everything(nothing: str) -> None:
    """The published rule, taken to the letter; `llava score` tells how many answers it counts."""
    assert refined(nothing, ["chair"]) and refined("chair", [nothing])
    assert says_nothing(nothing) and not says_nothing("chair")
    assert not exact(nothing, ["chair"]) and not cleaned_exact(nothing, ["chair"])


def sample(task: str, kind: str, answer: str, question: str = "q", **meta: object) -> Sample:
    return Sample(0, task, "s", question, answer, meta={"question_type": kind, **meta})


def test_majority_answers_by_kind() -> None:
    train = [sample("sqa3d", "is", a) for a in ("no", "no", "yes")] + [sample("sqa3d", "how", "two")]
    val = [sample("sqa3d", "is", a) for a in ("No", "yes")] + [
        sample("sqa3d", "how", "2"),
        sample("sqa3d", "which", "no"),
    ]
    assert majority(train, val) == {"sqa3d": {"em": 75.0, "em_refined": 75.0}}


def test_majority_of_untyped_questions_goes_by_their_first_words() -> None:
    train = [sample("scanqa", "unknow", "red", " What color is it?"), sample("scanqa", "unknow", "2", " How many?")]
    val = [
        sample("scanqa", "unknow", "red", " what color?", answers=["Red", "red"]),
        sample("scanqa", "unknow", "two", "How many?", answers=["two"]),
    ]
    assert question_kind(train[0]) == "what color"
    assert majority(train, val) == {"scanqa": {"em": 50.0, "em_refined": 100.0}}
    with pytest.raises(ValueError, match="no training sample of task 'scanqa'"):
        majority([], val)
