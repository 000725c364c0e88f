"""Caption scores, item by item."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from llava.metrics import captions
from llava.metrics.captions import score_captions
from llava.tasks import scan2cap, scanqa


@pytest.fixture
def no_java(monkeypatch: pytest.MonkeyPatch) -> None:
    captions._meteor.cache_clear()
    monkeypatch.setattr(shutil, "which", lambda name: None)
    yield
    captions._meteor.cache_clear()


@pytest.mark.parametrize("name", ["scan2cap", "scanqa"])
def test_every_item_equals_the_references(golden: Callable[[str], Path], name: str) -> None:
    folder = golden("06_metrics")
    expected = json.loads((folder / "details.json").read_text())[name]
    records = [json.loads(line) for line in (folder / f"{name}.jsonl").read_text().splitlines()]
    module = {"scan2cap": scan2cap, "scanqa": scanqa}[name]
    gold = [r["gt_response"] for r in records] if name == "scan2cap" else scanqa._all_answers(records, folder / "data")
    totals, items = score_captions(
        [[module._cut(text) for text in texts] for texts in gold], [module._cut(r["pred_response"]) for r in records]
    )
    for key in ("cider", "rouge_l", *(["meteor"] if "meteor" in totals else [])):
        total, values = expected["rouge" if key == "rouge_l" else key]
        assert totals[key] == pytest.approx(100 * total, abs=1e-6), key
        assert items[key] == pytest.approx([100 * value for value in values], abs=1e-6), key
    for n in range(4):
        assert totals[f"bleu{n + 1}"] == pytest.approx(100 * expected["bleu"][0][n], abs=1e-6)
        assert items[f"bleu{n + 1}"] == pytest.approx([100 * value for value in expected["bleu"][1][n]], abs=1e-6)


def test_without_java_the_other_scores_remain(no_java: None, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            totals, _ = score_captions([["a red chair"], ["a table"]], ["a red chair", ""])
    assert set(totals) == {"bleu1", "bleu2", "bleu3", "bleu4", "cider", "rouge_l"}
    assert [r.message for r in caplog.records if "METEOR" in r.message] == [
        "METEOR is left out: it needs `java` on PATH (Debian: apt-get install default-jre-headless)"
    ]


@pytest.mark.skipif(shutil.which("java") is None, reason="METEOR needs Java")
def test_meteor_survives_odd_texts() -> None:
    totals, items = score_captions([["a red chair"], ["tisch — é"], ["x"]], ["a red\nchair", "", "||| x"])
    assert items["meteor"][0] == pytest.approx(100)
    assert 0 <= totals["meteor"] <= 100


def test_lengths_and_references_are_checked() -> None:
    with pytest.raises(ValueError, match="1 texts cannot be scored against references of 2 items"):
        score_captions([["a"], ["b"]], ["a"])
    with pytest.raises(ValueError, match="item 1 of 2 has no reference"):
        score_captions([["a"], []], ["a", "b"])
