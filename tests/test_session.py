"""The whole way from nothing to a report, as `llava run` goes it; again, when everything is there; and a question."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from llava.cli import main
from llava.recipes import RECIPES, get_recipe
from llava.session import PUBLISHED, Training, run_everything, settings_of, trainable_recipe
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
    assert main(["report", "checkpoints/rooms", "--data", "data-rooms-6"]) is None

    (capture, *_) = sorted((tmp_path / "data-rooms-6/scannet/posed_images").iterdir())
    capsys.readouterr()
    main(["ask", "checkpoints/rooms", str(capture), "What is red?", "--frames", "2"])
    assert len(capsys.readouterr().out.splitlines()) >= 1


@pytest.fixture
def run_stops(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """`llava run` up to where data is there; returns what would be trained."""
    monkeypatch.chdir(tmp_path)

    class Reached(Exception):
        pass

    def stop(training: Training) -> None:
        raise Reached(training)

    def run(*args: str) -> Training:
        with pytest.raises(Reached) as reached:
            run_everything(args)
        return reached.value.args[0]

    monkeypatch.setattr("llava.session.train_recipe", stop)
    return run


def test_rooms_of_another_size_and_seed_are_used_as_they_are(run_stops, rooms_data: Path) -> None:
    """The README's way: `llava rooms make data-mine --seed 1 ...`, then `llava run rooms --data data-mine`."""
    mine = shutil.copytree(rooms_data, Path("data-mine"))
    before = {path: path.stat().st_mtime_ns for path in mine.rglob("*") if path.is_file()}
    assert run_stops("rooms", "--data", "data-mine").data == mine
    assert {path: path.stat().st_mtime_ns for path in mine.rglob("*") if path.is_file()} == before


def test_no_room_is_made_in_a_folder_of_scannet(run_stops, rooms_data: Path) -> None:
    scannet = shutil.copytree(rooms_data, Path("data"), ignore=shutil.ignore_patterns(".rooms"))
    before = {path: path.read_bytes() for path in scannet.rglob("*") if path.is_file()}
    run_stops("rooms", "--data", "data")
    assert {path: path.read_bytes() for path in scannet.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("state", ["no folder", "other files", "incomplete", "complete"])
def test_without_a_recipe_rooms_are_trained_and_it_is_said_why(
    state: str, rooms_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    if state == "other files":
        Path("data/mine").mkdir(parents=True)
    elif state != "no folder":
        shutil.copytree(rooms_data, "data")
        if state == "incomplete":
            shutil.rmtree("data/metadata")
    assert trainable_recipe() == "rooms"
    why = "has no base checkpoint to start from" if state == "complete" else "no complete ScanNet in the folder `data`"
    assert why in capsys.readouterr().out


def test_the_published_recipe_is_trained_where_it_can_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llava.session.scannet_is_complete", lambda: True)
    monkeypatch.setitem(RECIPES, PUBLISHED, replace(RECIPES[PUBLISHED], base="somewhere"))
    assert trainable_recipe() == PUBLISHED


def test_a_capture_that_does_not_say_which_way_is_up(
    tiny_base: Path, rooms_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Out of its data folder a scan has no axis alignment: a line says so; to be asked its floor says enough."""
    capture = shutil.copytree(rooms_data / "scannet/posed_images/scene0000_00", tmp_path / "scan")
    capsys.readouterr()
    main(["ask", str(tiny_base), str(capture), "What is red?", "--frames", "1"])
    said = capsys.readouterr()
    assert said.out and "warning" not in said.err
    main(["scene", "info", str(capture)])
    told = [line for line in capsys.readouterr().out.splitlines() if line.startswith("warning")]
    assert len(told) == 1 and "nothing says which way is up" in told[0]


def test_published_targets_need_ground_truth_boxes(tmp_path: Path) -> None:
    """Object ids would be taken for numbers of proposals, and the model taught nonsense in silence."""
    recipe = get_recipe("rooms")
    published = replace(recipe, compat="video3d", data=replace(recipe.data, train_boxes="pred"))
    with pytest.raises(ValueError, match="--data.train-boxes pred offers others: train with gt or gt[+]pred"):
        settings_of(Training(published, tmp_path, tmp_path))
