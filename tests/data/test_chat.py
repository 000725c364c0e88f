"""The prompt: the ids that the reference trained on, and the same for training, packs and evaluation."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from llava.data import chat
from llava.data.chat import COORD, GROUND, IGNORE, SCENE, Chat
from llava.types import Sample

REFERENCE_IMAGE = -200
BOX_DATASETS = ("scanrefer", "multi3drefer")
VOCABULARIES = {"llava_video_like": (SCENE, GROUND, COORD), "qwen2_base": (GROUND, COORD, SCENE)}


def qwen2(golden: Callable[[str], Path], added: tuple[str, ...]):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(golden("qwen2_tokenizer"))
    tokenizer.add_tokens(list(added))
    return tokenizer


@pytest.fixture(scope="module", params=list(VOCABULARIES))
def recorded(request: pytest.FixtureRequest, golden: Callable[[str], Path]):
    """A Qwen2 tokenizer with the added tokens in one of the two recorded orders, and what the reference made of it."""
    tokens = json.loads((golden("05_text") / "tokens.json").read_text())[request.param]
    return qwen2(golden, VOCABULARIES[request.param]), tokens


@pytest.fixture(scope="module")
def samples(golden: Callable[[str], Path]) -> list[Sample]:
    def sample(record: dict) -> Sample:
        human, gpt = (turn["value"] for turn in record["conversations"])
        dataset = record["metadata"]["dataset"]
        boxed = np.array(record.get("box", []), float).reshape(-1, 6)
        return Sample(
            record["id"],
            dataset,
            record["video"],
            human.removeprefix(SCENE),
            gpt,
            coord=np.array(record["box_input"]) if "box_input" in record else None,
            boxes=boxed if dataset in BOX_DATASETS else None,
        )

    return [sample(record) for record in json.loads((golden("05_text") / "samples.json").read_text())]


def ours(tokenizer, settings: Chat, sample: Sample, scene_tokens: int = 1) -> list[int]:
    """Prefix and branch with the reference's id for the scene placeholder."""
    ids = chat.prefix_ids(tokenizer, settings, scene_tokens) + chat.branch(tokenizer, sample).ids
    scene = tokenizer.convert_tokens_to_ids(SCENE)
    return [REFERENCE_IMAGE if i == scene else i for i in ids]


def test_ids_are_those_the_reference_trains_on(recorded, samples: list[Sample]) -> None:
    tokenizer, tokens = recorded
    assert {name: tokenizer.convert_tokens_to_ids(name) for name in tokens["special_ids"]} == tokens["special_ids"]
    end, line_break = tokens["special_ids"]["<|im_end|>"], 198
    for sample, expected in zip(samples, tokens["train"], strict=True):
        # Nothing is read after the end mark, and nothing but <ground> of a box answer.
        after = [line_break] if sample.boxes is None else [end, line_break]
        assert ours(tokenizer, Chat(), sample) + after == expected["input_ids"], sample.question


def test_without_the_instruction_they_are_those_of_its_evaluation(recorded, samples: list[Sample]) -> None:
    tokenizer, tokens = recorded
    for sample, expected in zip(samples, tokens["eval"], strict=True):
        prefix = chat.prefix_ids(tokenizer, Chat(instruction=""), 1)
        question = chat.question_ids(tokenizer, sample.question)
        scene = tokenizer.convert_tokens_to_ids(SCENE)
        ids = [REFERENCE_IMAGE if i == scene else i for i in prefix + question]
        assert expected["input_ids"][: len(ids)] == ids
        assert (len(expected["input_ids"]) == len(ids)) == (sample.boxes is None)


@pytest.mark.parametrize("instruction", [Chat().instruction, "", "Look."])
def test_apart_is_as_joined(golden: Callable[[str], Path], samples: list[Sample], instruction: str) -> None:
    tokenizer = qwen2(golden, VOCABULARIES["llava_video_like"])
    settings = Chat(instruction=instruction)
    for sample in samples:
        head = f"<|im_start|>system\n{settings.system}<|im_end|>\n<|im_start|>user\n{SCENE * 3}\n"
        middle = f"{instruction}\n" if instruction else ""
        answer = GROUND if sample.boxes is not None else f"{sample.answer}<|im_end|>"
        joined = f"{head}{middle}{sample.question}<|im_end|>\n<|im_start|>assistant\n{answer}"
        apart = chat.prefix_ids(tokenizer, settings, 3) + chat.branch(tokenizer, sample).ids
        assert apart == tokenizer(joined)["input_ids"]


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
