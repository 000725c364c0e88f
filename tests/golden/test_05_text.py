"""Prompts and labels token for token, with Qwen2's real vocabulary, in training and evaluation, in both modes."""

from __future__ import annotations

import json

import numpy as np
import pytest

from llava.data import chat
from llava.data.chat import COORD, GROUND, IGNORE, SCENE, Chat
from llava.data.compat import MODES
from llava.data.pack import coord_points, ground_target
from llava.tasks import TASKS
from llava.types import Sample

REFERENCE_IMAGE = -200
BY_DATASET = {task.dataset: task for task in TASKS.values()}


def qwen2(golden, need, special_ids: dict[str, int]):
    """Qwen2's tokenizer with the recorded tokens added in the recorded order, then those that it still lacks."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(need(golden / "qwen2_tokenizer"))
    added = sorted((n for n in special_ids if n not in tokenizer.get_vocab()), key=special_ids.__getitem__)
    tokenizer.add_tokens([*added, *(mark for mark in (SCENE, GROUND, COORD) if mark not in added)])
    return tokenizer


@pytest.fixture(scope="module", params=["llava_video_like", "qwen2_base"])
def recorded(request, golden, need):
    """A tokenizer, and what the reference made of the samples with it."""
    tokens = json.loads((golden / "05_text/tokens.json").read_text())
    if request.param not in tokens:
        pytest.skip(f"nothing is recorded for {request.param}")
    tokens = tokens[request.param]
    return qwen2(golden, need, tokens["special_ids"]), tokens


@pytest.fixture(scope="module")
def samples(golden) -> list[Sample]:
    def sample(record: dict) -> Sample:
        human, gpt = (turn["value"] for turn in record["conversations"])
        task = BY_DATASET[record["metadata"]["dataset"]]
        boxes = np.array(record.get("box", []), float).reshape(-1, 6)
        coord = np.array(record["box_input"]) if record.get("box_input") else None
        given = {"coord": coord, "boxes": boxes if task.kind == "box" else None, "meta": record["metadata"]}
        return Sample(record["id"], task.name, record["video"], human.removeprefix(SCENE), gpt, **given)

    return [sample(record) for record in json.loads((golden / "05_text/samples.json").read_text())]


def as_reference(tokenizer, ids: list[int]) -> list[int]:
    scene = tokenizer.convert_tokens_to_ids(SCENE)
    return [REFERENCE_IMAGE if token == scene else token for token in ids]


def test_special_ids(recorded):
    tokenizer, tokens = recorded
    assert {name: tokenizer.convert_tokens_to_ids(name) for name in tokens["special_ids"]} == tokens["special_ids"]


def test_probe(golden, need):
    ids = json.loads((golden / "05_text/tokens.json").read_text())["llava_video_like"]["special_ids"]
    tokenizer = qwen2(golden, need, ids)
    for probe in json.loads((golden / "05_text/tokenizer_probe.json").read_text()):
        assert tokenizer(probe["text"])["input_ids"] == probe["ids"], probe["text"]


def test_published_training(recorded, samples):
    tokenizer, tokens = recorded
    labels = MODES["video3d"].labels
    for sample, expected in zip(samples, tokens["train"], strict=True):
        prefix = chat.prefix(tokenizer, Chat(), 1, labels)
        branch = chat.branch(tokenizer, sample, labels)
        assert as_reference(tokenizer, prefix.ids + branch.ids) == expected["input_ids"], sample.question
        assert prefix.labels + branch.labels == expected["labels"], sample.question


def test_published_evaluation(recorded, samples):
    """Boxes are asked for with the whole turn; what comes after `<ground>` is read by nobody (quirk Q20)."""
    tokenizer, tokens = recorded
    settings = MODES["video3d"].asking(Chat())
    end = [tokenizer.convert_tokens_to_ids("<|im_end|>"), *tokenizer("\n")["input_ids"]]
    for sample, expected in zip(samples, tokens["eval"], strict=True):
        ids = chat.prefix_ids(tokenizer, settings, 1) + chat.question_ids(tokenizer, sample.question)
        ids = as_reference(tokenizer, ids)
        if sample.boxes is None:
            assert ids == expected["input_ids"]
        else:
            mark = tokenizer.convert_tokens_to_ids(GROUND)
            assert [*ids, mark, *end] == expected["input_ids"]
            assert expected["labels"].index(mark) == len(ids), "the query is read where the label says"


def test_ours(recorded, samples):
    """Training asks as published training does, and supervises the answer; evaluation asks the same."""
    tokenizer, tokens = recorded
    for sample, expected in zip(samples, tokens["train"], strict=True):
        prefix, branch = chat.prefix(tokenizer, Chat(), 1), chat.branch(tokenizer, sample)
        ids, labels = as_reference(tokenizer, prefix.ids + branch.ids), prefix.labels + branch.labels
        assert ids == expected["input_ids"][: len(ids)]
        asked = prefix.ids + chat.question_ids(tokenizer, sample.question)
        assert asked == (prefix.ids + branch.ids)[: len(asked)]
        assert set(labels[: len(asked)]) == {IGNORE}
        if sample.boxes is None:
            assert labels[len(asked) :] == expected["labels"][len(asked) : len(ids)]
            assert labels[-1] == tokenizer.convert_tokens_to_ids("<|im_end|>")
        else:
            assert labels[len(asked) :] == [IGNORE] and ids[-1] == tokenizer.convert_tokens_to_ids(GROUND)


def test_targets_and_places(golden, recorded, samples):
    tokenizer, tokens = recorded
    objects = np.array(json.loads((golden / "02_geometry/meta.json").read_text())["objects"])
    for sample, expected in zip(samples, tokens["train"], strict=True):
        if sample.boxes is not None:
            target = ground_target(sample, objects, rule=MODES["video3d"].targets)
            assert np.flatnonzero(target[:-1]).tolist() == sorted(expected["box_label"])
            assert target[-1] == (expected["box_label"] == [])
        places = [] if expected["box_input"] is None else [expected["box_input"]]
        np.testing.assert_allclose(coord_points(sample), np.reshape(places, (-1, 3)))


@pytest.mark.parametrize("instruction", [Chat().instruction, "", "Look."])
def test_apart_is_as_joined(recorded, samples, instruction):
    """Prefix and branch are cut into tokens one after the other, which is no different from the joined text."""
    tokenizer, _ = recorded
    settings = Chat(instruction=instruction)
    for sample in samples:
        head = f"<|im_start|>system\n{settings.system}<|im_end|>\n<|im_start|>user\n{SCENE * 3}\n"
        middle = f"{instruction}\n" if instruction else ""
        answer = GROUND if sample.boxes is not None else f"{sample.answer}<|im_end|>"
        joined = f"{head}{middle}{sample.question}<|im_end|>\n<|im_start|>assistant\n{answer}"
        apart = chat.prefix_ids(tokenizer, settings, 3) + chat.branch(tokenizer, sample).ids
        assert apart == tokenizer(joined)["input_ids"]
