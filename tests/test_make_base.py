"""The base model, end to end and tiny: made once, gone on with, and refused with other settings."""

from __future__ import annotations

from pathlib import Path

import pytest

from llava.make_base import pretrain_base
from llava.model.checkpoint import is_finished
from llava.resumable import read_json

SETTINGS = {
    "--pictures.rooms": 3,
    "--pictures.held-out": 1,
    "--pictures.pictures": 2,
    "--pictures.vocabulary": 400,
    "--pictures.tower-steps": 2,
    "--pictures.tower-batch": 2,
    "--pictures.align-steps": 4,
    "--pictures.word-packs": 4,
    "--pictures.room-packs": 4,
    "--pictures.told-rooms": 2,
    "--train.packs": 3,
    "--train.questions-per-scene": 3,
}
TINY = [str(part) for setting in SETTINGS.items() for part in setting]


@pytest.mark.slow
def test_a_base_model_end_to_end(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    arguments = [*TINY, "--work", str(tmp_path / "work"), "--out", str(tmp_path / "base")]
    pretrain_base(arguments)
    assert is_finished(tmp_path / "base")
    scores = read_json(tmp_path / "base/scores.json")
    assert set(scores["patches"]) == {"label", "color"} and scores["questions"] and scores["told"]
    assert all(0 <= value <= 100 for of in scores.values() for value in of.values())
    stages = [tmp_path / "work" / name for name in ("tower.pt", "reading.pt", "projector.pt", "tokenizer")]
    made = [stage.stat().st_mtime_ns for stage in stages]
    pretrain_base(arguments)  # again: nothing is left to do but to measure
    assert [stage.stat().st_mtime_ns for stage in stages] == made
    assert read_json(tmp_path / "base/scores.json") == scores
    with pytest.raises(ValueError, match="begun with other settings"):
        pretrain_base([*arguments, "--pictures.seed", "1"])
