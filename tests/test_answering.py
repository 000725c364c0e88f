"""Answering together against the plain way: every question alone, with a full forward pass of its scene."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.baselines.evaluation import answer_one_by_one
from llava import answering
from llava.answering import Answerer, read_size
from llava.data.scenes import SceneInputs, SceneSource
from llava.tasks import TASKS
from llava.types import Prediction, Sample

LIMIT = 12  # tokens an answer


@pytest.fixture(scope="module")
def answerer(talkative: Answerer) -> Answerer:
    return replace(talkative, max_new_tokens=LIMIT)


@pytest.fixture(scope="module")
def asked(source: SceneSource, rooms_data: Path) -> list[tuple[SceneInputs, list[Sample]]]:
    """Some questions of every benchmark about each scene, one of them about a place that no proposal gives."""
    found: dict[str, list[Sample]] = {}
    for task in TASKS.values():
        of_task: dict[str, list[Sample]] = {}
        for sample in task.samples(rooms_data, "train"):
            of_task.setdefault(sample.scene, []).append(sample)
        for scene, samples in of_task.items():
            found.setdefault(scene, []).extend(samples[:3])
    nowhere = next(s for s in next(iter(found.values())) if s.coord is not None)
    next(iter(found.values())).insert(4, replace(nowhere, coord=None))
    return [(source.load(scene), samples) for scene, samples in found.items()]


def check_same(found: list[Prediction], plain: list[Prediction]) -> None:
    """Token for token, and box for box."""
    for many, one in zip(found, plain, strict=True):
        assert many.sample is one.sample
        if one.sample.boxes is None:
            assert many.text == one.text
        else:
            np.testing.assert_allclose(many.scores, one.scores, atol=1e-5)
            assert many.scores.argmax() == one.scores.argmax()
            assert many.temperature == one.temperature and many.objects is one.objects


@pytest.mark.parametrize("memory", [1, 80_000, 1 << 30])
def test_together_as_one_by_one(answerer, asked, memory: int) -> None:
    found = replace(answerer, kv_memory=memory).answer_scenes(asked)
    plain = [answer_one_by_one(answerer, scene, samples) for scene, samples in asked]
    for many, one in zip(found, plain, strict=True):
        check_same(many, one)
    texts = [p.text for one in plain for p in one if p.sample.boxes is None]
    assert len(set(texts)) > 3 and "" in texts


def test_batches_fit_into_the_memory(answerer, asked, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is read at once, with the prefixes that it continues and those that still wait, stays below the bound."""
    batches: dict[str, list[int]] = {"greedy": [], "ground": []}

    def size(questions, limits) -> int:
        prefixes = {id(question.prefix): question.prefix.length for question in questions}
        own = sum(answerer.question_bytes(q, limit) for q, limit in zip(questions, limits, strict=True))
        return answerer.kv_bytes(sum(prefixes.values())) + own

    def watched_greedy(model, questions, limits, eos):
        batches["greedy"].append((len(questions), size(questions, limits)))
        return greedy(model, questions, limits, eos)

    def watched_ground(model, questions, *rest):
        batches["ground"].append((len(questions), size(questions, [0] * len(questions))))
        return ground(model, questions, *rest)

    greedy, ground = answering.greedy, answering.ground
    monkeypatch.setattr(answering, "greedy", watched_greedy)
    monkeypatch.setattr(answering, "ground", watched_ground)
    for memory in (70_000, 100_000, 1 << 30):
        batches["greedy"].clear(), batches["ground"].clear()
        replace(answerer, kv_memory=memory).answer_scenes(asked)
        assert all(used <= memory for found in batches.values() for _, used in found), (memory, batches)
        assert sum(count for count, _ in batches["ground"]) == 6 * len(asked)
    assert len(batches["ground"]) == len(asked), "a scene's boxes are found in one forward pass where there is room"
    assert len(batches["greedy"]) == 1, "scenes are in flight together where there is room"


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("4GB", 4 * 10**9),
        ("512 MiB", 512 << 20),
        ("1.5g", 1.5 * 10**9),
        ("1000", 1000),
        (" 2 kb", 2000),
        ("1TiB", 1 << 40),
    ],
)
def test_sizes_are_read(text: str, size: int) -> None:
    assert read_size(text) == size


@pytest.mark.parametrize("text", ["", "much", "-1GB", "4 apples", "0", "0.1", "GB", "1e9", "9" * 400, "4GBs", "nan"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no amount of memory: expected a number with a unit, like 4GB"):
        read_size(text)
