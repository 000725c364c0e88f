"""Caption scores of odd texts, with and without Java."""

from __future__ import annotations

import logging
import shutil

import pytest

from llava.metrics import captions
from llava.metrics.captions import score_captions


@pytest.fixture
def no_java(monkeypatch: pytest.MonkeyPatch) -> None:
    captions._meteor.cache_clear()
    monkeypatch.setattr(shutil, "which", lambda name: None)
    yield
    captions._meteor.cache_clear()


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
