"""The whole way from nothing to a report, as `llava run` goes it; again, when everything is there; and a question."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from llava.cli import main
from llava.tasks import TASKS


@pytest.mark.slow
def test_from_nothing_to_a_report_and_again(
    tiny_flags: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("llava.metrics.captions._meteor", lambda: None)  # it would start a Java machine
    run = ["run", "rooms", "--rooms", "6", "--blind-packs", "1", "--train.packs", "2", *tiny_flags]
    main(run)
    said = capsys.readouterr().out
    assert "ScanRefer" in said and "report: results/rooms-mc-2/report.html" in said
    report = tmp_path / "results/rooms-mc-2"
    assert all((report / f"report.{kind}").stat().st_size > 1000 for kind in ("html", "md", "json"))
    baselines = json.loads((report / "baselines.json").read_text())
    assert set(baselines) == {"majority", "blind"}
    assert set(baselines["blind"]) == set(TASKS)
    answers = {path: path.read_bytes() for path in sorted(tmp_path.glob("results/*/*.jsonl"))}
    assert len(answers) == 2 * len(TASKS)
    weights = (tmp_path / "checkpoints/rooms/model.safetensors").read_bytes()

    main(run)
    assert weights == (tmp_path / "checkpoints/rooms/model.safetensors").read_bytes()
    assert answers == {path: path.read_bytes() for path in sorted(tmp_path.glob("results/*/*.jsonl"))}
    assert not list(tmp_path.glob("results/*/*.old"))

    (capture, *_) = sorted((tmp_path / "data-rooms-6/scannet/posed_images").iterdir())
    capsys.readouterr()
    main(["ask", "checkpoints/rooms", str(capture), "What is red?", "--frames", "2"])
    assert len(capsys.readouterr().out.splitlines()) >= 1
