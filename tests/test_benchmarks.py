"""The comparisons' own code: what is a score, and what the table says of several seeds."""

from __future__ import annotations

import importlib
import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from llava.tasks import TASKS

FOLDER = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def arms(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module("arms")


def test_the_compared_scores_are_headlines(arms: ModuleType) -> None:
    for benchmark, names in arms.SCORES.items():
        assert set(names) <= set(TASKS[benchmark].headline), benchmark


def test_a_table_says_mean_and_spread(arms: ModuleType) -> None:
    keys = [f"{benchmark} {name}" for benchmark, names in arms.SCORES.items() for name in names]
    runs = [dict.fromkeys(keys, value) for value in (10.0, 13.0)]
    *_, two, one = arms.table({"two seeds": runs, "one seed": runs[:1]}).splitlines()
    assert two.startswith("| two seeds | 11.5 (3.0) |") and one.startswith("| one seed | 10.0 |")
    assert two.count("|") == len(keys) + 2


@pytest.mark.parametrize("name", ["position_encoding", "sampling"])
def test_its_help_says_what_it_does(arms: ModuleType, name: str, capsys: pytest.CaptureFixture) -> None:
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    with pytest.raises(SystemExit) as stopped:
        module.tyro.cli(module.main, args=["--help"])
    assert stopped.value.code == 0 and "--data" in capsys.readouterr().out


@pytest.mark.slow
def test_loading_of_scenes(tmp_path: Path) -> None:
    """At a size that says nothing about speed: all ways give the same tensors, else there would be no numbers."""
    small = ["--frames", "3", "--posed", "4", "--color", "80", "60", "--depth", "64", "48", "--rooms", "3"]
    command = [sys.executable, FOLDER / "loading.py", *small, "--packs", "2", "--repeats", "1", "--results", tmp_path]
    subprocess.run(command, check=True, cwd=FOLDER.parent)
    numbers = json.loads((tmp_path / "loading.json").read_text())
    assert {boxes: of["objects"] > 0 for boxes, of in numbers["loading"].items()} == {"gt": True, "none": False}
    assert all(of["ways"]["plain"]["ratio"] == 1 and "warm" in of["ways"] for of in numbers["loading"].values())
    assert "packs a second with kept features" in (tmp_path / "loading.md").read_text()
