"""Evaluation: no question lost or answered twice, whenever a run is killed; batches answer as single questions do."""

from __future__ import annotations

import copy
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from llava.answering import Answerer
from llava.data.contents import contents_digest
from llava.data.scenes import SceneSource
from llava.loading import load_checkpoint
from llava.model.checkpoint import weights_digest
from llava.predict import Benchmark, Run, _groups, evaluate, score
from llava.recipes import get_recipe
from llava.resumable import only_one
from llava.session import evaluate_checkpoint, report_run, run_name
from llava.tasks import TASKS
from llava.types import Sample

RUN = Run("tiny", "0123", "data", "89ab", "train", "mc", 2, "gt", "ours")
LIMIT = 6  # tokens an answer


@pytest.fixture(scope="module")
def answerer(talkative: Answerer) -> Answerer:
    return replace(talkative, max_new_tokens=LIMIT)


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


def answer_all(answerer, source, name: str, samples: list[Sample], run: Run, out: Path) -> Path:
    """Evaluate one benchmark."""
    evaluate(answerer, source, [Benchmark(name, samples, run, out)])
    return out


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize("name", TASKS)
def test_one_line_a_question(answerer, source, rooms_data, short, tmp_path: Path, name: str) -> None:
    samples = questions(rooms_data, name)
    out = answer_all(answerer, source, name, samples, RUN, tmp_path / name / "run.jsonl")
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
    out = answer_all(answerer, source, "scanqa", samples, RUN, tmp_path / "run.jsonl")
    whole = out.read_bytes()
    kept = whole[: int(cut * (len(whole) - 1))]
    out.write_bytes(kept)
    answer_all(answerer, source, "scanqa", samples, RUN, out)
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


def test_answers_are_on_disk_as_they_come(
    answerer, source, rooms_data, short, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("llava.predict.TOGETHER", 1)
    samples, out = questions(rooms_data, "sqa3d"), tmp_path / "run.jsonl"
    with pytest.raises(KeyboardInterrupt):
        answer_all(answerer, Dying(source), "sqa3d", samples, RUN, out)
    assert [line["sample_id"] for line in lines(out)] == [sample.id for sample in samples[:10]]
    answer_all(answerer, source, "sqa3d", samples, RUN, out)
    assert [line["sample_id"] for line in lines(out)] == [sample.id for sample in samples]


def test_a_finished_run_is_not_asked_again(answerer, source, rooms_data, short, tmp_path: Path) -> None:
    samples = questions(rooms_data, "scanrefer")
    out = answer_all(answerer, source, "scanrefer", samples, RUN, tmp_path / "run.jsonl")
    before = out.read_bytes()
    answer_all(answerer, None, "scanrefer", samples, RUN, out)  # no source: no scene may be loaded
    assert out.read_bytes() == before


@pytest.mark.parametrize(
    "other", [{"frames": 3}, {"weights": "4567"}, {"boxes": "pred"}, {"data": "elsewhere"}, {"contents": "cdef"}]
)
def test_answers_of_another_run_are_kept_apart(
    answerer, source, rooms_data, short, tmp_path: Path, capsys, other: dict
) -> None:
    samples, out = questions(rooms_data, "multi3drefer", each=1), tmp_path / "run.jsonl"
    answer_all(answerer, source, "multi3drefer", samples[:1], RUN, out)
    before = out.read_bytes()
    answer_all(answerer, source, "multi3drefer", samples, replace(RUN, **other), out)
    assert (tmp_path / "run.jsonl.old").read_bytes() == before
    assert len(lines(out)) == len(samples)
    assert "was made by another run; kept as run.jsonl.old" in capsys.readouterr().out


def test_a_damaged_line_is_named(answerer, source, rooms_data, short, tmp_path: Path) -> None:
    samples = questions(rooms_data, "scanqa")
    out = answer_all(answerer, source, "scanqa", samples, RUN, tmp_path / "run.jsonl")
    first, *others = out.read_text().splitlines(keepends=True)
    out.write_text("".join([first, others[0][:9] + "\n", *others[1:]]))
    with pytest.raises(ValueError, match=r"run.jsonl, line 2, is not valid JSON .*: delete that line"):
        answer_all(answerer, source, "scanqa", samples, RUN, out)
    with pytest.raises(ValueError, match="line 2, is not valid JSON"):
        score("scanqa", out, RUN, rooms_data)


@pytest.mark.parametrize("line", [{}, {"scene": "scannet/scene0000_00"}, {"scene": [1], "sample_id": 1}])
def test_a_line_that_answers_nothing_is_left_out(
    answerer, source, rooms_data, short, tmp_path: Path, line: dict
) -> None:
    samples = questions(rooms_data, "scanqa")
    out = answer_all(answerer, source, "scanqa", samples, RUN, tmp_path / "run.jsonl")
    whole = out.read_bytes()
    out.write_bytes(json.dumps(line).encode() + b"\n" + whole)
    answer_all(answerer, source, "scanqa", samples, RUN, out)
    assert out.read_bytes() == whole


def test_what_was_set_aside_stays(answerer, source, rooms_data, short, tmp_path: Path) -> None:
    samples, out = questions(rooms_data, "multi3drefer", each=1), tmp_path / "run.jsonl"
    runs = [replace(RUN, frames=frames) for frames in (1, 2, 3)]
    for run in runs:
        answer_all(answerer, source, "multi3drefer", samples, run, out)
        score("multi3drefer", out, run, rooms_data)
    for run, ending in zip(runs, (".old", ".old2", ""), strict=True):
        assert len(lines(tmp_path / f"run.jsonl{ending}")) == len(samples)
        for name in ("run.json", "run.run.json"):
            assert json.loads((tmp_path / f"{name}{ending}").read_text())["frames"] == run.frames


def test_unfinished_answers_have_no_scores(answerer, source, rooms_data, short, tmp_path: Path) -> None:
    samples, out = questions(rooms_data, "sqa3d"), tmp_path / "run.jsonl"
    answer_all(answerer, source, "sqa3d", samples[:5], RUN, out)
    score("sqa3d", out, RUN, rooms_data)
    dying = Dying(source)
    dying.left = 1
    with pytest.raises(KeyboardInterrupt):
        answer_all(answerer, dying, "sqa3d", samples, RUN, out)
    assert not out.with_suffix(".json").exists()


def test_two_at_once_are_refused(answerer, source, rooms_data, tmp_path: Path) -> None:
    (tmp_path / ".run.jsonl.lock").touch()
    with (
        only_one(tmp_path / ".run.jsonl.lock", "is answering"),
        pytest.raises(ValueError, match=r"another process is answering into .*run.jsonl: wait"),
    ):
        answer_all(answerer, source, "scanqa", [], RUN, tmp_path / "run.jsonl")


def test_wordings_that_share_an_id_are_all_asked(answerer, source, rooms_data, short, tmp_path: Path) -> None:
    samples, out = questions(rooms_data, "sqa3d", each=9), tmp_path / "run.jsonl"
    assert len({sample.id for sample in samples}) < len(samples)
    whole = answer_all(answerer, source, "sqa3d", samples, RUN, out).read_text()
    out.write_text("".join(whole.splitlines(keepends=True)[:4]))
    assert answer_all(answerer, source, "sqa3d", samples, RUN, out).read_text() == whole


def test_a_file_of_unknown_origin_is_kept_apart(answerer, source, rooms_data, short, tmp_path: Path) -> None:
    samples, out = questions(rooms_data, "multi3drefer", each=1), tmp_path / "run.jsonl"
    out.write_text("what is this\n")
    answer_all(answerer, source, "multi3drefer", samples, RUN, out)
    assert (tmp_path / "run.jsonl.old").read_text() == "what is this\n"
    assert len(lines(out)) == len(samples)


def all_benchmarks(data: Path, folder: Path, names=TASKS) -> list[Benchmark]:
    return [Benchmark(name, questions(data, name, each=3), RUN, folder / name / "run.jsonl") for name in names]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*.json*"))}


class Counting:
    """A source that remembers what was asked for."""

    def __init__(self, source: SceneSource) -> None:
        self.source, self.loaded = source, []

    def load(self, name: str):
        self.loaded.append(name)
        return self.source.load(name)


def test_all_benchmarks_in_one_pass_over_the_scenes(answerer, source, rooms_data, tmp_path: Path) -> None:
    benchmarks, counting = all_benchmarks(rooms_data, tmp_path / "all"), Counting(source)
    evaluate(answerer, counting, benchmarks)
    scenes = {sample.scene for benchmark in benchmarks for sample in benchmark.samples}
    assert sorted(counting.loaded) == sorted(scenes)
    for benchmark in benchmarks:
        assert [line["sample_id"] for line in lines(benchmark.out)] == [sample.id for sample in benchmark.samples]


@pytest.mark.parametrize("together", [1, 12, 1000])
def test_a_pass_that_was_killed_goes_on(
    answerer, source, rooms_data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, together: int
) -> None:
    """Killed between the files of a scene, or within one; the first benchmark has everything already."""
    monkeypatch.setattr("llava.predict.TOGETHER", together)
    benchmarks = all_benchmarks(rooms_data, tmp_path)
    evaluate(answerer, source, benchmarks)
    whole = contents(tmp_path)
    second, third = benchmarks[1].out, benchmarks[2].out
    second.write_bytes(second.read_bytes()[:-5])
    third.write_bytes(b"")
    evaluate(answerer, source, benchmarks)
    assert contents(tmp_path) == whole


def test_a_scored_benchmark_is_not_asked_again(answerer, source, rooms_data, short, tmp_path: Path) -> None:
    first, second = all_benchmarks(rooms_data, tmp_path, ("scanqa", "scanrefer"))
    evaluate(answerer, source, [first])
    score("scanqa", first.out, RUN, rooms_data)
    before = contents(tmp_path)
    evaluate(answerer, source, [first, second])
    assert before.items() <= contents(tmp_path).items()
    assert len(lines(second.out)) == len(second.samples)


def test_all_stands_for_every_benchmark(tiny_base: Path, rooms_data: Path, short, tmp_path: Path) -> None:
    scores = evaluate_checkpoint(tiny_base, ("all",), data=rooms_data, results=tmp_path, frames=1, kv_memory="1MB")
    assert list(scores) == list(TASKS)


def test_what_is_told_needs_no_boxes_and_what_is_found_fails_at_once(
    tiny_base: Path, rooms_data: Path, short, tmp_path: Path
) -> None:
    """As SQA3D's scenes that no detector has looked at, beside ScanRefer's."""
    data = shutil.copytree(rooms_data, tmp_path / "data", ignore=shutil.ignore_patterns(".cache"))
    shutil.copytree(data / "scannet/posed_images/scene0000_00", data / "scannet/posed_images/scene0099_00")
    shutil.copytree(data / "scannet/scans/scene0000_00", data / "scannet/scans/scene0099_00")
    (data / "scannet/scans/scene0099_00/scene0000_00.txt").rename(data / "scannet/scans/scene0099_00/scene0099_00.txt")
    asked = {"data": data, "results": tmp_path / "results", "frames": 1}
    counts = {}
    for name in ("sqa3d", "scanrefer"):
        path = TASKS[name].processed(data, "val")
        records = json.loads(path.read_text())
        path.write_text(json.dumps([*records, {**records[0], "video": "scannet/scene0099_00"}]))
        counts[name] = len(records) + 1
        if name == "sqa3d":
            scores = evaluate_checkpoint(tiny_base, ("sqa3d", "scanrefer"), **asked)
            assert scores["sqa3d"]["count"] == counts["sqa3d"]
    with pytest.raises(ValueError, match="scene 'scannet/scene0099_00' has no pred boxes"):
        evaluate_checkpoint(tiny_base, ("sqa3d", "scanrefer"), **asked)
    assert evaluate_checkpoint(tiny_base, ("sqa3d",), **asked)["sqa3d"]["count"] == counts["sqa3d"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tasks": ("all", "scanrefr")}, "unknown task 'scanrefr'.*did you mean 'scanrefer'"),
        ({"tasks": ("scanqa",), "boxes": "prd"}, "unknown boxes 'prd'.*did you mean 'pred'"),
    ],
)
def test_a_word_that_would_not_count_is_refused(tiny_base: Path, rooms_data: Path, tmp_path, changes, message) -> None:
    with pytest.raises(ValueError, match=message):
        evaluate_checkpoint(tiny_base, data=rooms_data, results=tmp_path, **changes)


def test_scenes_are_grouped_by_their_questions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llava.predict.TOGETHER", 10)
    assert _groups({"a": 3, "b": 7, "c": 20, "d": 1, "e": 1}) == [["a", "b"], ["c"], ["d", "e"]]


def test_a_place_that_no_proposal_gives_is_not_described(answerer, source, rooms_data) -> None:
    first, second, third = questions(rooms_data, "scan2cap")[:3]
    scene = source.load(first.scene)
    asked = [first, replace(second, coord=None), third]
    told = answerer.answer(scene, asked)
    assert [p.sample for p in told] == asked
    assert told[1].text == "" and told[0].text and told[2].text
    assert answerer.answer(scene, [replace(first, coord=None)])[0].text == ""


def test_marks_of_turns_are_no_words_of_an_answer(answerer, source, rooms_data) -> None:
    """As the original decodes: a model that goes on behind its end does not say so in words."""
    endless = replace(answerer, model=copy.deepcopy(answerer.model))
    head = torch.nn.Linear(endless.model.config.text_config.hidden_size, len(endless.tokenizer))
    torch.nn.init.zeros_(head.weight)
    torch.nn.init.zeros_(head.bias)
    head.bias.data[endless.tokenizer.convert_tokens_to_ids("<|endoftext|>")] = 1
    endless.model.language_model.lm_head = head
    (asked, *_) = questions(rooms_data, "scanqa")
    assert endless.answer(source.load(asked.scene), [asked])[0].text == ""


def test_the_blind_answer_without_looking(answerer, source, rooms_data) -> None:
    blind = replace(source, blind=True)
    asked = questions(rooms_data, "scanqa")[:3]
    scenes = sorted({s.scene for s in questions(rooms_data, "scanqa")})

    def answers(shown: SceneSource) -> list[list[str]]:
        return [[p.text for p in answerer.answer(shown.load(scene), asked)] for scene in scenes]

    guessed, looked = answers(blind), answers(source)
    assert guessed[0] == guessed[1] == guessed[2]
    assert looked[0] != looked[1]


def test_a_digest_is_that_of_the_weights(tiny_base: Path, tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes((tiny_base / "model.safetensors").read_bytes())
    assert weights_digest(tmp_path) == weights_digest(tiny_base)
    (tmp_path / "model.safetensors").write_bytes(b"other")
    assert weights_digest(tmp_path) != weights_digest(tiny_base)


@pytest.mark.parametrize(
    "name",
    [
        ".rooms/making.json",
        "metadata/scannet_val_pred_box.json",
        "metadata/scannet_select_frames.json",
        "processed/scanqa_val_llava_style.json",
    ],
)
def test_a_digest_is_that_of_the_data(rooms_data: Path, tmp_path: Path, name: str) -> None:
    copy = shutil.copytree(rooms_data, tmp_path / "data", ignore=shutil.ignore_patterns("scannet", "records"))
    before = contents_digest(rooms_data, "val", ["scanqa"])
    assert contents_digest(copy, "val", ["scanqa"]) == before
    assert contents_digest(copy, "train", ["scanqa"]) != before
    (copy / name).write_text((copy / name).read_text() + " ")
    assert contents_digest(copy, "val", ["scanqa"]) != before


def test_a_checkpoint_is_scored_on_held_out_scenes(tiny_base: Path, rooms_data: Path, short, tmp_path: Path) -> None:
    tasks = ("scanrefer", "scanqa")
    scores = evaluate_checkpoint(tiny_base, tasks, data=rooms_data, results=tmp_path, frames=1, strategy="ratio95")
    assert set(scores) == set(tasks)
    for task in tasks:
        made = scores[task]
        assert (made["strategy"], made["frames"], made["split"]) == ("mc-ratio95", 1, "val")
        assert made["boxes"] == ("pred" if task == "scanrefer" else "none")
        assert (made["mode"], made["blind"], made["model"]) == ("ours", False, "tiny-base")
        assert (tmp_path / task / f"{tiny_base.parent.name}-tiny-base-mc-ratio95-1.jsonl").exists()
        assert made["count"] == len(TASKS[task].samples(rooms_data, "val"))


@pytest.mark.parametrize(
    ("checkpoint", "changes", "name"),
    [
        ("checkpoints/rooms", {}, "rooms-mc-8"),
        ("checkpoints/rooms", {"strategy": "mc", "frames": 8, "boxes": "pred", "split": "val"}, "rooms-mc-8"),
        ("checkpoints/rooms", {"strategy": "ratio90", "frames": 32}, "rooms-mc-ratio90-32"),
        ("checkpoints/rooms", {"split": "test", "boxes": "gt", "limit": 3}, "rooms-mc-8-test-gt-first3"),
        ("checkpoints/rooms/checkpoint-200", {}, "rooms-checkpoint-200-mc-8"),
        ("elsewhere/rooms", {}, "elsewhere-rooms-mc-8"),
    ],
)
def test_what_is_not_as_usual_is_in_the_name(checkpoint: str, changes: dict, name: str) -> None:
    assert run_name(Path(checkpoint), get_recipe("rooms"), **changes) == name


def test_a_limited_evaluation_is_reported_apart(tiny_base: Path, rooms_data: Path, short, tmp_path: Path) -> None:
    checkpoint = shutil.copytree(tiny_base, tmp_path / "checkpoints/tiny")
    evaluate_checkpoint(checkpoint, ["scanrefer"], data=rooms_data, results=tmp_path / "results", limit=1)
    page = report_run(checkpoint, None, None, rooms_data, tmp_path / "results", "val", None, 1)
    assert page == tmp_path / "results/tiny-mc-2-first1/report.html"
    with pytest.raises(ValueError, match=r"'tiny-mc-2' has no scores to report.*run `llava eval` first"):
        report_run(checkpoint, None, None, rooms_data, tmp_path / "results", "val", None, None)


def test_boxes_are_stated_as_they_were(tiny_base: Path, rooms_data: Path, short, tmp_path: Path) -> None:
    """Scan2Cap asks at the detector's boxes, which its records hold, whatever boxes are offered to choose from."""
    asked = {"tasks": ("scan2cap", "scanrefer"), "data": rooms_data, "boxes": "gt", "frames": 1}
    scores = evaluate_checkpoint(tiny_base, results=tmp_path, **asked)
    assert (scores["scan2cap"]["boxes"], scores["scanrefer"]["boxes"]) == ("pred", "gt")


def test_the_test_split_of_a_text_task_needs_no_boxes(tiny_base: Path, rooms_data: Path, short, tmp_path: Path) -> None:
    """SQA3D's test scenes lie in ScanNet's val split, so there are no boxes of a test split."""
    data = shutil.copytree(rooms_data, tmp_path / "data")
    task = TASKS["sqa3d"]
    shutil.copyfile(task.processed(data, "val"), task.processed(data, "test"))
    assert not (data / "metadata/scannet_test_pred_box.json").exists()
    made = evaluate_checkpoint(tiny_base, ("sqa3d",), data=data, results=tmp_path, frames=1, split="test")["sqa3d"]
    assert (made["split"], made["boxes"]) == ("test", "none")


@pytest.mark.parametrize(("precision", "dtype"), [("bf16", torch.bfloat16), ("fp32", torch.float32)])
def test_a_device_runs_in_the_precision_of_the_training(tiny_base: Path, tmp_path: Path, precision, dtype) -> None:
    checkpoint = shutil.copytree(tiny_base, tmp_path / "checkpoint")
    recipe = json.loads((checkpoint / "recipe.json").read_text())
    recipe["train"]["precision"] = precision
    (checkpoint / "recipe.json").write_text(json.dumps(recipe))
    there = load_checkpoint(checkpoint, device="meta")[0].model
    assert {(p.device.type, p.dtype) for p in there.parameters()} == {("meta", dtype)}
    here = load_checkpoint(checkpoint, device="cpu")[0].model
    assert {(p.device.type, p.dtype) for p in here.parameters()} == {("cpu", torch.float32)}


@pytest.mark.parametrize("name", TASKS)
def test_half_precision_answers(answerer, source, rooms_data, name: str) -> None:
    samples = questions(rooms_data, name, each=4)[:4]
    scene = source.load(samples[0].scene)
    half = replace(answerer, model=copy.deepcopy(answerer.model).bfloat16())
    for whole, rounded in zip(answerer.answer(scene, samples), half.answer(scene, samples), strict=True):
        if TASKS[name].kind == "text":
            assert rounded.text
        else:
            np.testing.assert_allclose(rounded.scores, whole.scores, atol=0.1)


def test_answers_come_with_the_temperature_of_their_head(answerer, source, rooms_data, tmp_path: Path) -> None:
    cold = replace(answerer, model=copy.deepcopy(answerer.model))
    cold.model.config.ground_temperature = 0.5
    samples = questions(rooms_data, "multi3drefer", each=1)
    out = answer_all(cold, source, "multi3drefer", samples, RUN, tmp_path / "run.jsonl")
    assert {line["temperature"] for line in lines(out)} == {0.5}
