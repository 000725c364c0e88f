"""Evaluation: no question lost or answered twice, whenever a run is killed; batches answer as single questions do."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from llava.data.scenes import SceneSource
from llava.predict import Answerer, Run, digest, evaluate, score
from llava.session import evaluate_checkpoint, load_checkpoint
from llava.tasks import TASKS
from llava.train import scene_source
from llava.types import Sample

RUN = Run("tiny", "0123", "data", "train", "mc", 2, "gt", "ours")
LIMIT = 6  # tokens an answer


@pytest.fixture(scope="module")
def answerer(tiny_base: Path) -> Answerer:
    """A talkative one: with fresh weights and tied embeddings every token would be followed by itself."""
    answerer = load_checkpoint(tiny_base)[0]
    torch.manual_seed(0)
    head = answerer.model.language_model.lm_head
    head.weight = torch.nn.Parameter(torch.randn_like(head.weight))
    for name, parameter in answerer.model.named_parameters():
        if ".layers." in name and parameter.ndim == 2:
            torch.nn.init.normal_(parameter, std=0.2)
    return answerer


@pytest.fixture(scope="module")
def source(tiny_recipe, rooms_data: Path) -> SceneSource:
    eyes = tiny_recipe.encoder
    return scene_source(rooms_data, "train", tiny_recipe.data, eyes.build_processor(), eyes.image_size, "gt")


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Random weights never end an answer, so cut it; and leave out METEOR, which starts a Java machine."""
    monkeypatch.setattr("llava.metrics.captions._meteor", lambda: None)
    for name, task in TASKS.items():
        monkeypatch.setitem(TASKS, name, replace(task, max_new_tokens=min(task.max_new_tokens, LIMIT)))


def questions(data: Path, name: str, each: int = 5) -> list[Sample]:
    """The first questions of every training scene."""
    found: dict[str, list[Sample]] = {}
    for sample in TASKS[name].samples(data, "train"):
        found.setdefault(sample.scene, []).append(sample)
    return [sample for of_scene in found.values() for sample in of_scene[:each]]


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize("name", TASKS)
def test_one_line_a_question(answerer, source, rooms_data, short, tmp_path: Path, name: str) -> None:
    samples = questions(rooms_data, name)
    out = evaluate(answerer, source, name, samples, RUN, tmp_path / name / "run.jsonl")
    written = lines(out)
    assert [line["sample_id"] for line in written] == [sample.id for sample in samples]
    assert all(answerer.settings.instruction in line["prompt"] for line in written)
    scores = score(name, out, RUN, rooms_data)
    assert json.loads(out.with_suffix(".json").read_text()) == scores
    assert vars(RUN).items() <= scores.items()
    assert (scores["count"], scores["scenes"]) == (len(samples), 3)
    assert set(TASKS[name].headline) <= set(scores)


@pytest.mark.parametrize("cut", [0.0, 0.1, 0.34, 0.5, 0.99, 1.0])
def test_a_killed_run_goes_on(answerer, source, rooms_data, short, tmp_path: Path, cut: float) -> None:
    """Whatever was on disk when the run was killed, even half a line, or a line without its end."""
    samples = questions(rooms_data, "scanqa")
    out = evaluate(answerer, source, "scanqa", samples, RUN, tmp_path / "run.jsonl")
    whole = out.read_bytes()
    kept = whole[: int(cut * (len(whole) - 1))]
    out.write_bytes(kept)
    evaluate(answerer, source, "scanqa", samples, RUN, out)
    assert sorted(out.read_bytes().splitlines()) == sorted(whole.splitlines())
    assert out.read_bytes().startswith(kept[: kept.rfind(b"\n") + 1]), "what was there stays as it was"
    assert out.read_bytes().endswith(b"\n")


class Dying:
    """A source that is killed when the last of three scenes is asked for."""

    def __init__(self, source: SceneSource) -> None:
        self.source, self.left = source, 2

    def load(self, name: str):
        if self.left == 0:
            raise KeyboardInterrupt
        self.left -= 1
        return self.source.load(name)


def test_answers_are_on_disk_as_they_come(answerer, source, rooms_data, short, tmp_path: Path) -> None:
    samples, out = questions(rooms_data, "sqa3d"), tmp_path / "run.jsonl"
    with pytest.raises(KeyboardInterrupt):
        evaluate(answerer, Dying(source), "sqa3d", samples, RUN, out)
    assert [line["sample_id"] for line in lines(out)] == [sample.id for sample in samples[:10]]
    evaluate(answerer, source, "sqa3d", samples, RUN, out)
    assert [line["sample_id"] for line in lines(out)] == [sample.id for sample in samples]


def test_a_finished_run_is_not_asked_again(answerer, source, rooms_data, short, tmp_path: Path) -> None:
    samples = questions(rooms_data, "scanrefer")
    out = evaluate(answerer, source, "scanrefer", samples, RUN, tmp_path / "run.jsonl")
    before = out.read_bytes()
    evaluate(answerer, None, "scanrefer", samples, RUN, out)  # no source: no scene may be loaded
    assert out.read_bytes() == before


@pytest.mark.parametrize("other", [{"frames": 3}, {"weights": "4567"}, {"boxes": "pred"}, {"data": "elsewhere"}])
def test_answers_of_another_run_are_kept_apart(
    answerer, source, rooms_data, short, tmp_path: Path, capsys, other: dict
) -> None:
    samples, out = questions(rooms_data, "multi3drefer", each=1), tmp_path / "run.jsonl"
    evaluate(answerer, source, "multi3drefer", samples[:1], RUN, out)
    before = out.read_bytes()
    evaluate(answerer, source, "multi3drefer", samples, replace(RUN, **other), out)
    assert (tmp_path / "run.jsonl.old").read_bytes() == before
    assert len(lines(out)) == len(samples)
    assert "was made by another run; kept as run.jsonl.old" in capsys.readouterr().out


def test_a_file_of_unknown_origin_is_kept_apart(answerer, source, rooms_data, short, tmp_path: Path) -> None:
    samples, out = questions(rooms_data, "multi3drefer", each=1), tmp_path / "run.jsonl"
    out.write_text("what is this\n")
    evaluate(answerer, source, "multi3drefer", samples, RUN, out)
    assert (tmp_path / "run.jsonl.old").read_text() == "what is this\n"
    assert len(lines(out)) == len(samples)


@pytest.mark.parametrize("name", TASKS)
def test_together_as_one_by_one(answerer, source, rooms_data, monkeypatch, name: str) -> None:
    """In uneven batches, on a shared prefix, in the order of the questions."""
    monkeypatch.setattr("llava.predict.QUESTIONS", 3)
    samples = questions(rooms_data, name, each=8)[:8]
    scene = source.load(samples[0].scene)
    together = answerer.answer(scene, samples, LIMIT)
    apart = [answerer.answer(scene, [sample], LIMIT)[0] for sample in samples]
    assert [p.sample for p in together] == samples
    for many, one in zip(together, apart, strict=True):
        if TASKS[name].kind == "text":
            assert many.text == one.text != ""
        else:
            np.testing.assert_allclose(many.scores, one.scores, atol=1e-5)
            assert many.scores.shape == (len(scene.objects) + 1,)


def test_a_place_that_no_proposal_gives_is_not_described(answerer, source, rooms_data) -> None:
    first, second, third = questions(rooms_data, "scan2cap")[:3]
    scene = source.load(first.scene)
    asked = [first, replace(second, coord=None), third]
    told = answerer.answer(scene, asked, LIMIT)
    assert [p.sample for p in told] == asked
    assert told[1].text == "" and told[0].text and told[2].text
    assert answerer.answer(scene, [replace(first, coord=None)], LIMIT)[0].text == ""


def test_the_blind_answer_without_looking(answerer, source, rooms_data) -> None:
    blind = replace(answerer, blind=True)
    asked = questions(rooms_data, "scanqa")[:3]
    scenes = sorted({s.scene for s in questions(rooms_data, "scanqa")})

    def answers(who: Answerer) -> list[list[str]]:
        return [[p.text for p in who.answer(source.load(scene), asked, LIMIT)] for scene in scenes]

    guessed, looked = answers(blind), answers(answerer)
    assert guessed[0] == guessed[1] == guessed[2]
    assert looked[0] != looked[1]


def test_a_digest_is_that_of_the_weights(tiny_base: Path, tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes((tiny_base / "model.safetensors").read_bytes())
    assert digest(tmp_path) == digest(tiny_base)
    (tmp_path / "model.safetensors").write_bytes(b"other")
    assert digest(tmp_path) != digest(tiny_base)


def test_a_checkpoint_is_scored_on_held_out_scenes(tiny_base: Path, rooms_data: Path, short, tmp_path: Path) -> None:
    tasks = ("scanrefer", "scanqa")
    scores = evaluate_checkpoint(tiny_base, tasks, data=rooms_data, results=tmp_path, frames=1, strategy="ratio95")
    assert set(scores) == set(tasks)
    for task in tasks:
        made = scores[task]
        assert (made["strategy"], made["frames"], made["boxes"], made["split"]) == ("mc-ratio95", 1, "pred", "val")
        assert (made["mode"], made["blind"], made["model"]) == ("ours", False, "tiny-base")
        assert (tmp_path / task / "tiny-base-mc-ratio95-1.jsonl").exists()
        assert made["count"] == len(TASKS[task].samples(rooms_data, "val"))
