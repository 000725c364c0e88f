"""The prompt: the ids that the reference trained on, and the same for training, packs and evaluation."""

from __future__ import annotations

import numpy as np
import pytest

from llava.data import chat
from llava.data.chat import GROUND, IGNORE, SCENE, Chat
from llava.types import Sample


def test_only_the_answer_and_its_end_are_labelled(tiny_tokenizer) -> None:
    told = Sample(0, "scanqa", "s", " What is red? Answer the question simply.", "office chair")
    branch = chat.branch(tiny_tokenizer, told)
    labelled = [i for i, label in zip(branch.ids, branch.labels, strict=True) if label != IGNORE]
    assert tiny_tokenizer.decode(labelled) == "office chair<|im_end|>"
    assert branch.ids[-len(labelled) :] == branch.labels[-len(labelled) :] == labelled


def test_a_box_answer_has_no_label(tiny_tokenizer) -> None:
    found = Sample(0, "scanrefer", "s", "Find the chair.", GROUND, boxes=np.zeros((0, 6)))
    branch = chat.branch(tiny_tokenizer, found)
    assert branch.ids[-1] == tiny_tokenizer.convert_tokens_to_ids(GROUND)
    assert set(branch.labels) == {IGNORE} and len(branch.labels) == len(branch.ids)


def test_an_empty_answer_is_an_end_mark(tiny_tokenizer) -> None:
    branch = chat.branch(tiny_tokenizer, Sample(0, "scanqa", "s", " Why?", ""))
    assert branch.labels[-1] == tiny_tokenizer.convert_tokens_to_ids("<|im_end|>")
    assert sum(label != IGNORE for label in branch.labels) == 1


def test_an_unknown_answer_cannot_be_trained_on(tiny_tokenizer) -> None:
    with pytest.raises(ValueError, match="sqa3d 7: the answer is unknown"):
        chat.branch(tiny_tokenizer, Sample(7, "sqa3d", "s", " Why?", None))


def test_training_asks_as_evaluation_does(tiny_tokenizer) -> None:
    sample = Sample(0, "scanqa", "s", " What is red?", "chair")
    trained, asked = chat.branch(tiny_tokenizer, sample).ids, chat.question_ids(tiny_tokenizer, sample.question)
    assert trained[: len(asked)] == asked
    assert tiny_tokenizer.decode(trained[len(asked) :]) == "chair<|im_end|>"


@pytest.mark.parametrize("count", [0, 1, 40])
def test_the_prefix_promises_as_many_scene_tokens_as_there_are(tiny_tokenizer, count: int) -> None:
    ids = chat.prefix_ids(tiny_tokenizer, Chat(), count)
    assert ids.count(tiny_tokenizer.convert_tokens_to_ids(SCENE)) == count
