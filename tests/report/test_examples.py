"""Examples are picked by quality and spread over kinds and scenes."""

from __future__ import annotations

import numpy as np
import pytest

from llava.report.examples import box_agreement, own_words, pick_examples, quality

BOX = [0.0, 0.0, 0.0, 1.0, 1.0, 1.0]
FAR = [5.0, 5.0, 0.0, 1.0, 1.0, 1.0]


def line(number: int, said: str, kind: str = "what", scene: str = "a") -> dict:
    question = f"Question {number}? Answer simply."
    return {
        "sample_id": number,
        "question": question,
        "question_type": kind,
        "scene": scene,
        "pred_response": said,
        "gt_response": "red",
    }


def test_own_words_drops_the_sentences_that_all_questions_share() -> None:
    asked = ["<image>Find this. The red chair. There may be none.", "<image>Find this. A desk.\nThere may be none."]
    assert own_words(asked) == ["The red chair.", "A desk."]


def test_own_words_keeps_a_question_that_is_always_the_same() -> None:
    assert own_words(["Describe it. Please.", "Describe it. Please."]) == ["Describe it. Please."] * 2


def test_good_and_bad_answers_are_told_apart() -> None:
    examples = pick_examples("scanqa", [line(0, "Red."), line(1, "blue")], count=3)
    assert [(e.id, e.good) for e in examples] == [("0", True), ("1", False)]
    assert examples[0].question == "Question 0?"


def test_examples_are_spread_over_kinds_and_scenes() -> None:
    lines = [line(n, "red") for n in range(5)] + [line(5, "red", kind="is", scene="b"), line(6, "red", scene="c")]
    examples = pick_examples("sqa3d", lines, count=3)
    assert {e.kind for e in examples} == {"what", "is"}
    assert {e.scene for e in examples} == {"a", "b", "c"}


@pytest.mark.parametrize(
    ("predicted", "true", "expected"),
    [([], [], 1.0), ([BOX], [], 0.0), ([], [BOX], 0.0), ([BOX], [BOX], 1.0), ([FAR, BOX], [BOX], 0.5)],
)
def test_box_agreement(predicted, true, expected) -> None:
    boxes = (np.array(values).reshape(-1, 6) for values in (predicted, true))
    assert box_agreement(*boxes) == pytest.approx(expected)


def test_lines_of_the_reference_without_box_keys_are_read(golden) -> None:
    import json

    for name in ("scanrefer", "scan2cap", "sqa3d"):
        with golden(f"06_metrics/{name}.jsonl").open() as file:
            answers = [json.loads(text) for text in file]
        assert all(0 <= quality(answer) <= 1 + 1e-6 for answer in answers)
        assert pick_examples(name, answers, count=2)
