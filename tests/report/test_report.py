"""The report gathers what a run left on disk, says how scores were made, and stands alone as one page."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from llava.report import make_report, scores_table
from llava.report.gather import read_run, statement
from llava.report.tables import breakdown


def test_report_is_three_files_and_the_page_stands_alone(run_dir, data, checkpoint) -> None:
    page = make_report(run_dir, data, checkpoint)
    assert page == run_dir / "report.html"
    assert {p.name for p in run_dir.iterdir()} == {"report.html", "report.md", "report.json", "baselines.json"}
    html = page.read_text()
    assert not re.search(r'(src|href)="(?!data:image/png;base64,)', html)
    pictures = [Image.open(io.BytesIO(base64.b64decode(p))) for p in re.findall(r"base64,([^\"]+)\"", html)]
    # an overview, two charts, and a picture for each of three good and three bad answers about boxes
    assert len(pictures) == 3 + 3 * 6
    assert "The " in html
    assert "<b>here</b>" not in html  # what a model or an annotator wrote is text, never markup
    for text in ("54.1", "58.1", "31.2", "33.3", "mode</span>ours", "boxes</span>pred", "frame choice</span>mc"):
        assert text in html, text


def test_json_holds_what_the_page_shows(run_dir, data, checkpoint) -> None:
    make_report(run_dir, data, checkpoint)
    summary = json.loads((run_dir / "report.json").read_text())
    assert summary["benchmarks"]["scanqa"]["scores"]["em"] == 51.3
    assert summary["benchmarks"]["scanqa"]["baselines"]["blind"]["em"] == 31.2
    assert summary["benchmarks"]["scanrefer"]["published"]["acc@0.25"] == 58.1
    assert summary["benchmarks"]["scanrefer"]["strategy"] == "mc"
    assert [entry["step"] for entry in summary["training"]] == list(range(1, 9))
    coverage = summary["coverage"]
    assert coverage["frames"] == [1, 2, 3, 4, 6, 8]
    assert all(np.diff(coverage["mc"]) >= 0)
    assert all(mc >= uniform for mc, uniform in zip(coverage["mc"], coverage["uniform"], strict=True))


def test_markdown_has_a_row_for_each_headline_score(run_dir, data) -> None:
    make_report(run_dir, data)
    text = (run_dir / "report.md").read_text()
    assert "| ScanRefer | Acc@0.25 | 54.1 | – | – | 58.1 |" in text
    assert "- mode: ours" in text
    assert "split val (ScanRefer, Multi3DRefer, Scan2Cap, ScanQA); test (SQA3D)." in text


def test_a_published_number_stands_beside_its_own_rule_alone(run_dir, data) -> None:
    make_report(run_dir, data)
    text = (run_dir / "report.md").read_text()
    assert "| Multi3DRefer | F1@0.25 | 61.0 | – | – | 58.0 |" in text
    assert "|  | F1@0.25, our choice | 63.2 | – | – | – |" in text


def test_report_without_scenes_checkpoint_and_some_benchmarks(run_dir, tmp_path, caplog) -> None:
    shutil.rmtree(run_dir.parent / "sqa3d")
    html = make_report(run_dir, tmp_path / "nowhere").read_text()
    assert "base64" not in html
    assert "Not evaluated in this run: sqa3d." in html
    assert "No training log" in html
    assert "none of the run's scenes is in" in caplog.text


def test_nothing_scored_names_the_files_looked_for(tmp_path, data) -> None:
    with pytest.raises(ValueError, match=r"run 'other' has no scores.*scanrefer/other\.json"):
        make_report(tmp_path / "results/other", data)


def test_damaged_answers_name_the_line(run_dir, data) -> None:
    with (run_dir.parent / "scanqa/demo.jsonl").open("a") as file:
        file.write('{"sample_id": 9')
    number = len((run_dir.parent / "scanqa/demo.jsonl").read_text().splitlines())
    with pytest.raises(ValueError, match=rf"scanqa/demo\.jsonl, line {number}, is not valid JSON"):
        make_report(run_dir, data)


def test_newest_checkpoint_gives_the_log(run_dir, checkpoint) -> None:
    for step in (4, 8, 12):
        folder = checkpoint / f"checkpoint-{step}"
        folder.mkdir()
        (folder / "trainer_state.json").write_text(json.dumps({"log_history": [{"step": step, "loss": 1.0}]}))
    (checkpoint / "trainer_state.json").unlink()
    run = read_run(run_dir, checkpoint)
    assert [entry["step"] for entry in run.log] == [12]
    assert run.recipe == {"name": "rooms", "rooms": 560}


def test_statement_tells_apart_benchmarks_that_differ(run_dir) -> None:
    path = run_dir.parent / "scanqa/demo.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "frames": 8}))
    assert dict(statement(read_run(run_dir).results))["frames, at most"] == (
        "4 (scanrefer, multi3drefer, scan2cap, sqa3d); 8 (scanqa)"
    )


def test_statement_says_that_the_boxes_were_our_own(run_dir) -> None:
    path = run_dir.parent / "scanrefer/demo.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "boxes": "own"}))
    assert "own proposals (scanrefer)" in dict(statement(read_run(run_dir).results))["boxes"]


def test_breakdown_puts_kinds_in_rows_and_metrics_in_columns(run_dir) -> None:
    tables = {result.task.name: breakdown(result) for result in read_run(run_dir).results}
    multi = tables["multi3drefer"]
    assert multi.columns == ["our choice F1@0.25", "F1@0.25"]
    assert multi.rows == [("all", [63.2, 61.0]), ("several targets", [44.4, 40.0])]
    assert tables["scan2cap"].rows == [("all", [92.0, 33.0, 66.4]), ("IoU ≥ 0.5", [88.0, 31.2, None])]


def test_terminal_table_shows_own_and_published_numbers(run_dir) -> None:
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(scores_table(run_dir))
    row = next(line for line in console.export_text().splitlines() if "ScanRefer" in line)
    assert row.split()[:3] == ["ScanRefer", "Acc@0.25", "54.1"]
    assert "58.1" in row
