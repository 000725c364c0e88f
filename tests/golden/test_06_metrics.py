"""Printed scores of the reference's evaluation scripts, and the value of every item."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from llava.metrics.answers import clean
from llava.metrics.captions import score_captions
from llava.metrics.grounding import likely_objects, pair_iou, set_f1
from llava.tasks import TASKS, scan2cap, scanqa

THRESHOLDS = (0.25, 0.5)


@pytest.fixture(scope="module")
def folder(golden) -> Path:
    return golden / "06_metrics"


@pytest.fixture(scope="module")
def printed(folder) -> dict[str, list[str]]:
    return json.loads((folder / "printed.json").read_text())


@pytest.fixture(scope="module")
def details(folder) -> dict:
    return json.loads((folder / "details.json").read_text())


@pytest.fixture(scope="module")
def lines(folder):
    return lambda name: [json.loads(line) for line in (folder / f"{name}.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def captions(folder, lines):
    """Gold texts and captions as the reference cuts them."""

    def read(name: str) -> tuple[list[list[str]], list[str]]:
        records = lines(name)
        if name == "scan2cap":
            gold, cut = [record["gt_response"] for record in records], scan2cap._cut
        else:
            gold, cut = scanqa._all_answers(records, folder / "data"), scanqa._cut
        return [[cut(text) for text in texts] for texts in gold], [cut(record["pred_response"]) for record in records]

    return read


def test_scanrefer(printed, lines):
    scores = TASKS["scanrefer"].score(lines("scanrefer"), None)
    for line in printed["scanrefer"]:
        part, threshold, value = line.replace("iou@", "").replace(":", "").split()
        key = f"acc@{threshold}" if part == "all" else f"{part}_acc@{threshold}"
        assert scores[key] == pytest.approx(float(value), abs=1e-9), line


def test_scanrefer_ious(details, lines):
    found = [pair_iou(record["pred_response"], record["gt_response"]) for record in lines("scanrefer")]
    assert len(details["scanrefer_iou"]) <= len(found)
    compared = list(zip(found, details["scanrefer_iou"], strict=False))
    for ours, theirs in compared:
        assert ours == pytest.approx(theirs, abs=1e-12)
        assert [ours >= threshold for threshold in THRESHOLDS] == [theirs >= threshold for threshold in THRESHOLDS]


def test_multi3drefer(printed, lines):
    scores = TASKS["multi3drefer"].score(lines("multi3drefer"), None)
    for line in printed["multi3drefer"]:
        if not line.startswith("="):
            part, threshold, value = line.replace("IoU", "0.").replace(":", "").split()
            key = f"f1@{float(threshold)}" if part == "all" else f"{part}_f1@{float(threshold)}"
            assert scores[key] == pytest.approx(100 * float(value), abs=1e-9), line


def test_multi3drefer_items(details, lines):
    for record, item in zip(lines("multi3drefer"), details["multi3drefer"], strict=True):
        chosen = likely_objects(record["scores"])
        assert chosen == item["pred_indices"]
        boxes = [record["objects"][i] for i in chosen]
        assert set_f1(boxes, record["gt_response"], THRESHOLDS) == pytest.approx(item["f1"])


@pytest.mark.parametrize("name", ["scan2cap", "scanqa"])
def test_captions(folder, printed, lines, name):
    scores = TASKS[name].score(lines(name), folder / "data")
    said = dict(line.split(": ", 1) for line in printed[name] if line[0].isalpha())
    bleus = [float(value) for value in said["BLEU"].split(",")]  # all four, or the last one alone
    expected = {"cider": float(said["CIDER"]), "rouge_l": float(said["Rouge"])}
    expected |= {f"bleu{5 - i}": value for i, value in enumerate(reversed(bleus), start=1)}
    if "meteor" in scores:  # it needs Java
        expected["meteor"] = float(said["METEOR"])
    if "EM" in said:
        expected["em"] = 100 * float(said["EM"])
    for key, value in expected.items():
        assert scores[key] == pytest.approx(value, abs=1e-6), key


@pytest.mark.parametrize("name", ["scan2cap", "scanqa"])
def test_caption_items(details, captions, name):
    expected = details[name]
    totals, items = score_captions(*captions(name))
    for key in ("cider", "rouge_l", *(["meteor"] if "meteor" in totals else [])):
        total, values = expected["rouge" if key == "rouge_l" else key]
        assert totals[key] == pytest.approx(100 * total, abs=1e-6), key
        assert items[key] == pytest.approx([100 * value for value in values], abs=1e-6), key
    for n in range(4):
        assert totals[f"bleu{n + 1}"] == pytest.approx(100 * expected["bleu"][0][n], abs=1e-6)
        assert items[f"bleu{n + 1}"] == pytest.approx([100 * value for value in expected["bleu"][1][n]], abs=1e-6)


def test_sqa3d(printed, lines):
    scores = TASKS["sqa3d"].score(lines("sqa3d"), None)
    for line in printed["sqa3d"]:
        word, value = line.split(": ")
        assert scores["em" if word == "all" else f"{word}_em"] == pytest.approx(float(value), abs=1e-9), line


def test_sqa3d_cleaning(details):
    for said, cleaned_said, gold, cleaned_gold in details["sqa3d_clean"]:
        assert (clean(said), clean(gold)) == (cleaned_said, cleaned_gold)
