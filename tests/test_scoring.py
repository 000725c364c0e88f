"""`llava score`: files of the original's evaluation, by three protocols; and splits that only a server can score."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from llava.cli import main
from llava.scoring import score_file
from llava.tasks import TASKS
from llava.types import Prediction


@pytest.fixture
def no_java(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Java machine takes seconds to start; tests/metrics have it do its part."""
    monkeypatch.setattr("llava.metrics.captions._meteor", lambda: None)


@pytest.fixture
def answers(golden: Callable[[str], Path], tmp_path: Path) -> Callable[[str], Path]:
    """A copy of the answers file that the original's evaluation of a benchmark wrote."""
    return lambda name: Path(shutil.copyfile(golden(f"06_metrics/{name}.jsonl"), tmp_path / f"{name}.jsonl"))


def test_the_command_prints_what_the_original_prints(answers, golden, capsys) -> None:
    printed = json.loads((golden("06_metrics") / "printed.json").read_text())
    main(["score", "sqa3d", str(answers("sqa3d"))])
    said = dict(line.split(":", 1) for line in capsys.readouterr().out.splitlines() if "em:" in line)
    for line in printed["sqa3d"]:
        word, value = line.split(": ")
        shown = said["em" if word == "all" else f"{word}_em"].split("(")[0]
        assert float(shown) == pytest.approx(float(value), abs=1e-6)
    scores = score_file("scanrefer", answers("scanrefer")).scores
    for line in printed["scanrefer"]:
        key, value = line.split(": ")
        assert scores[key.replace(" iou", "_acc").removeprefix("all_")] == pytest.approx(float(value))
    found = score_file("multi3drefer", answers("multi3drefer"))
    kinds = [line.split(": ") for line in printed["multi3drefer"] if ":" in line]
    expected = {
        f"{key.split()[0]}_f1@{'0.25' if key.endswith('25') else '0.5'}".removeprefix("all_"): 100 * float(value)
        for key, value in kinds
    }
    assert found.scores == pytest.approx(expected)


def test_protocols_of_short_answers(answers, golden, no_java) -> None:
    data = golden("06_metrics") / "data"
    published = score_file("scanqa", answers("scanqa"), data)
    assert published.scores["em"] == pytest.approx(32.5) and "cider" in published.scores
    assert "meteor" not in published.scores
    assert "40 answers, to 40 of the 40 questions of val" in published.notes
    strict = score_file("scanqa", answers("scanqa"), data, "strict")
    assert strict.scores == {"em": published.scores["em"]}
    refined = score_file("scanqa", answers("scanqa"), data, "refined")
    assert set(refined.scores) == {"em_cleaned", "em_refined"} and refined.published == {}
    assert strict.scores["em"] <= refined.scores["em_cleaned"] <= refined.scores["em_refined"]
    kinds = score_file("sqa3d", answers("sqa3d"), None, "refined").scores
    assert {"em_refined", "what_em_refined"} <= set(kinds) and "em" not in kinds


def test_the_data_folder_is_found(answers, golden, no_java, tmp_path: Path, monkeypatch) -> None:
    """`data`, where one stands as the original's scripts want it; or the one that our answers were made with."""
    data = golden("06_metrics") / "data"
    monkeypatch.chdir(data.parent)
    expected = score_file("scanqa", answers("scanqa"), data)
    assert score_file("scanqa", answers("scanqa")).scores == expected.scores
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="give the data folder with data/processed/scanqa_val_llava_style.json"):
        score_file("scanqa", answers("scanqa"))
    (tmp_path / "scanqa.run.json").write_text(json.dumps({"data": str(data)}))
    assert score_file("scanqa", answers("scanqa")).scores == expected.scores


def test_empty_answers_are_told_of(tmp_path: Path) -> None:
    line = {"sample_id": 1, "gt_response": "two", "question_type": "how"}
    file = tmp_path / "a.jsonl"
    file.write_text("\n".join(json.dumps({**line, "pred_response": said}) for said in ("", "2", "three")))
    assert score_file("sqa3d", file).scores["em"] == pytest.approx(100 / 3)
    refined = score_file("sqa3d", file, None, "refined")
    assert refined.scores["em_refined"] == pytest.approx(200 / 3)
    assert "1 answers are empty, and count as hits" in str(refined)
    assert "3 answers, 2 of them twice" in str(refined)


def test_captions_count_only_at_boxes_that_reach_their_object(answers, no_java, tmp_path: Path) -> None:
    """The original's lines do not say where they were asked: the records do."""
    file = answers("scan2cap")
    published = score_file("scan2cap", file)
    assert published.scores["cider"] == pytest.approx(228.52289219774394)
    assert "228.522892   (Video-3D LLM: 83.8)" in str(published)
    assert {"mode, boxes and frames are not known: there is no scan2cap.run.json beside the answers"} <= set(
        published.notes
    )
    with pytest.raises(ValueError, match="has no strict scores without the boxes that were asked at, which data"):
        score_file("scan2cap", file, None, "strict")
    here, there = [0.0, 0, 0, 1, 1, 1], [0.6, 0, 0, 1, 1, 1]
    ids = [json.loads(line)["sample_id"] for line in file.read_text().splitlines()]
    records = [{"id": i, "box_input": [here, there, None][n % 3], "gt_box": here} for n, i in enumerate(ids)]
    (tmp_path / "processed").mkdir()
    (tmp_path / "processed/scan2cap_val_llava_style.json").write_text(json.dumps(records))
    strict = score_file("scan2cap", file, tmp_path, "strict")
    assert strict.scores["bleu4@0.5"] < strict.scores["bleu4@0.25"] + 1e-9 and "cider" not in strict.scores
    assert strict.scores["cider@0.5"] < published.scores["cider"]
    assert f"40 answers, to 40 of the {len(records)} questions of val" in strict.notes


def test_grounding_has_one_protocol_and_says_so(answers) -> None:
    strict = score_file("scanrefer", answers("scanrefer"), None, "strict")
    assert strict.scores == score_file("scanrefer", answers("scanrefer")).scores
    assert "scanrefer has no strict rule of its own: these are the published ones" in strict.notes


def test_files_that_are_no_answers(answers, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="there is no answers file"):
        score_file("sqa3d", tmp_path / "none.jsonl")
    file = tmp_path / "a.jsonl"
    file.write_text('{"sample_id": 1, "pred_response": "x", "gt_response": "x"}\n')
    with pytest.raises(ValueError, match="a line has no 'question_type': expected answers to sqa3d"):
        score_file("sqa3d", file)
    file.write_text('{"sample_id": 1}\n{"sample')
    with pytest.raises(ValueError, match="line 2, is not valid JSON"):
        score_file("sqa3d", file)
    file.write_text("[]\n")
    with pytest.raises(ValueError, match="line 1: expected an object, found list"):
        score_file("sqa3d", file)


NAN = float("nan")


@pytest.mark.parametrize(
    ("benchmark", "change", "told"),
    [
        ("scanrefer", {"pred_response": [NAN] * 6}, "sample_id 3.*pred_response is .nan.*expected a box of 6 finite"),
        ("scanrefer", {"pred_response": [10**400] * 6}, "expected a box of 6 finite"),
        ("scanrefer", {"gt_response": [[1, 2]]}, "expected a box of 6 finite"),
        ("scanrefer", {"sample_id": []}, "sample_id is .., expected a text or a whole number"),
        ("scanrefer", {"sample_id": True}, "sample_id is True, expected a text or a whole number"),
        ("multi3drefer", {"scores": [NAN] * 9}, "scores is .* expected a list of finite numbers"),
        ("multi3drefer", {"scores": []}, "expected a list of finite numbers, one at least"),
        ("multi3drefer", {"objects": None}, "expected a list of boxes"),
        ("multi3drefer", {"objects": []}, "has 9 scores for 0 objects"),
        ("multi3drefer", {"temperature": 0}, "expected a number above 0"),
        ("scan2cap", {"pred_response": None}, "pred_response is None, expected a text"),
        ("scan2cap", {"gt_response": "one text"}, "expected a list of texts"),
        ("scan2cap", {"question_type": []}, "question_type is .., expected a text"),
        ("sqa3d", {"pred_response": 5}, "answer 4 of 42 .sample_id 220602000003.: pred_response is 5, expected a text"),
    ],
)
def test_a_line_of_which_nothing_can_be_made_is_named(answers, benchmark: str, change: dict, told: str) -> None:
    file = answers(benchmark)
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    lines[3] |= change
    file.write_text("\n".join(map(json.dumps, lines)))
    with pytest.raises(ValueError, match=told):
        score_file(benchmark, file)


def test_answers_to_another_benchmark_are_not_scored(answers) -> None:
    with pytest.raises(ValueError, match="it is one to 'scanQA', expected answers to 'sqa3d'"):
        score_file("sqa3d", answers("scanqa"))


def test_a_file_without_answers_is_no_submission(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    for content in ("", "\n\n"):
        file.write_text(content)
        with pytest.raises(ValueError, match="the answers file is empty"):
            score_file("scanrefer", file)
    assert list(tmp_path.iterdir()) == [file]


def test_blank_lines_and_a_byte_order_mark_do_no_harm(answers) -> None:
    file = answers("sqa3d")
    scores = score_file("sqa3d", file).scores
    file.write_text("\ufeff" + file.read_text().replace("\n", "\r\n\r\n"))
    assert score_file("sqa3d", file).scores == scores


def test_scanqa_test_splits_give_a_submission(tmp_path: Path) -> None:
    """Annotations without answers -> records -> answers -> what ScanQA's server takes."""
    folder = tmp_path / "benchmark/scanqa"
    folder.mkdir(parents=True)
    asked = [{"scene_id": "scene0708_00", "question": "Why?", "question_id": f"test-scene0708-{i}"} for i in range(2)]
    (folder / "ScanQA_v1.0_test_w_obj.json").write_text(json.dumps(asked))
    task = TASKS["scanqa"]
    task.process(tmp_path, "test_w_obj")
    samples = task.samples(tmp_path, "test_w_obj")
    assert [sample.answer for sample in samples] == [None, None]
    file = tmp_path / "answers.jsonl"
    lines = [task.answer_record(Prediction(sample, text="because"), "m", "p") for sample in samples]
    file.write_text("\n".join(map(json.dumps, lines)))
    done = score_file("scanqa", file)
    sent = json.loads(done.file.read_text())
    assert [line["question_id"] for line in sent] == ["test-scene0708-0", "test-scene0708-1"]
    assert sent[0]["scene_id"] == "scene0708_00" and sent[0]["answer_top10"] == ["because"]
    assert np.shape(sent[0]["bbox"]) == (8, 3) and "submit" in str(done)


def test_scanrefers_test_split_gives_a_submission(tmp_path: Path) -> None:
    folder = tmp_path / "benchmark/scanrefer"
    folder.mkdir(parents=True)
    asked = {"scene_id": "scene0708_00", "object_id": "7", "ann_id": "2", "description": "a chair", "token": ["a"]}
    (folder / "ScanRefer_filtered_test.json").write_text(json.dumps([asked]))
    task = TASKS["scanrefer"]
    task.process(tmp_path, "test")
    (sample,) = task.samples(tmp_path, "test")
    assert sample.answer is None and sample.boxes.shape == (0, 6)
    boxes = np.array([[1.0, 0, 0, 2, 2, 2], [5, 0, 0, 1, 1, 1]])
    lines = [
        task.answer_record(Prediction(sample, objects=boxes, scores=np.array([0.5, 0.1, 0])), "m", "p"),
        task.answer_record(Prediction(sample, objects=boxes[:0], scores=np.zeros(1)), "m", "p"),
    ]
    file = tmp_path / "answers.jsonl"
    file.write_text("\n".join(map(json.dumps, lines)))
    found, none = json.loads(score_file("scanrefer", file).file.read_text())
    assert (found["scene_id"], found["object_id"], found["ann_id"]) == ("scene0708_00", "7", "2")
    assert (np.min(found["bbox"], axis=0) == [0, -1, -1]).all() and (np.max(found["bbox"], axis=0) == [2, 1, 1]).all()
    assert np.shape(none["bbox"]) == (8, 3)
    with pytest.raises(ValueError, match="no gold answer"):
        task.score(lines, None)


def test_scan2caps_test_split_is_asked_at_every_proposal(tmp_path: Path) -> None:
    boxes = {"scannet/scene0708_00": [[0.0, 0, 0, 1, 1, 1], [5.0, 0, 0, 2, 2, 2]], "scannet/scene0709_00": []}
    for name, content in {
        "benchmark/scanrefer/ScanRefer_filtered_test.json": [{"scene_id": "scene0708_00", "description": "a chair"}],
        "metadata/scannet_test_pred_box.json": boxes,
    }.items():
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text(json.dumps(content))
    task = TASKS["scan2cap"]
    proposals = tmp_path / "metadata/scannet_test_pred_box.json"
    hidden = proposals.rename(proposals.with_name("hidden"))
    assert task.process(tmp_path, "test") is None, "nothing to ask about"
    hidden.rename(proposals)
    task.process(tmp_path, "test")
    samples = task.samples(tmp_path, "test")
    assert [sample.coord.tolist() for sample in samples] == boxes["scannet/scene0708_00"]
    file = tmp_path / "answers.jsonl"
    lines = [task.answer_record(Prediction(sample, text="A chair."), "m", "p") for sample in samples]
    file.write_text("\n".join(map(json.dumps, lines)))
    sent = json.loads(score_file("scan2cap", file).file.read_text())
    assert list(sent) == ["scene0708_00"] and len(sent["scene0708_00"]) == 2
    last = sent["scene0708_00"][1]
    assert last["caption"] == "sos a chair . eos"
    assert np.min(last["box"], axis=0).tolist() == [4, -1, -1] and np.max(last["box"], axis=0).tolist() == [6, 1, 1]
    assert len(last["sem_prob"]) == 18 and last["obj_prob"] == [0, 1]
