"""Benchmarks measure what they say: time of a call, memory of a process and of its children, growth."""

from __future__ import annotations

import importlib
import json
import multiprocessing
import time
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

FOLDER = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def measure(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module("measure")


WORK = """
import multiprocessing
import time

import numpy as np


def fill(megabytes: int) -> int:
    time.sleep(0.1)  # long enough to be looked at
    return int(np.ones(megabytes * 125_000).sum())


def fill_below(megabytes: int) -> int:
    child = multiprocessing.get_context("spawn").Process(target=hold, args=(megabytes,))
    child.start()
    child.join()
    return child.exitcode


def hold(megabytes: int) -> None:
    filled = np.ones(megabytes * 125_000)
    time.sleep(0.5)
    assert filled[-1] == 1


def fail() -> None:
    raise SystemExit(3)
"""


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Functions that a fresh interpreter can import."""
    (tmp_path / "measured_work.py").write_text(WORK)
    monkeypatch.syspath_prepend(str(tmp_path))
    return importlib.import_module("measured_work")


def test_a_child_is_measured_from_nothing(measure: ModuleType, work: ModuleType) -> None:
    held = np.ones(50_000_000)  # 400 MB of ours are not the child's
    small, large = measure.in_child(work.fill, 1), measure.in_child(work.fill, 200)
    assert held[-1] == 1
    assert large.result == 200 * 125_000
    assert small.peak_mb < 300
    assert 190 < large.peak_mb - small.peak_mb < 215
    assert 0.1 <= small.seconds < 2


def test_memory_of_a_childs_children(measure: ModuleType, work: ModuleType) -> None:
    run = measure.in_child(work.fill_below, 300, processes=True)
    assert run.result == 0 and 300 < run.peak_mb < 600
    assert measure.in_child(work.fill_below, 300).peak_mb < 300


def test_a_child_that_fails_is_an_error(measure: ModuleType, work: ModuleType) -> None:
    for processes in (False, True):
        with pytest.raises(RuntimeError, match="fail ended with exit code 3"):
            measure.in_child(work.fail, processes=processes)
    assert not multiprocessing.active_children()


def test_ways_take_turns(measure: ModuleType) -> None:
    calls = []
    ways = {"slow": lambda: (calls.append("slow"), time.sleep(0.02)), "fast": lambda: calls.append("fast")}
    seconds = measure.interleaved(ways, repeats=3)
    assert calls == ["slow", "fast"] * 3
    assert min(seconds["slow"]) >= 0.02 and min(seconds["fast"]) < 0.02


def test_growth(measure: ModuleType) -> None:
    sizes = np.array([100, 200, 800])
    assert measure.growth_exponent(sizes, 3 * sizes) == pytest.approx(1)
    assert measure.growth_exponent(sizes, 0.1 * sizes**2) == pytest.approx(2)


def test_both_files_are_written(measure: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    measure.write(tmp_path / "load.py", "Loading", measure.table(("way", "s"), [("plain", 1.5)]), {"seconds": [1.5]})
    page, numbers = (tmp_path / "load.md").read_text(), json.loads((tmp_path / "load.json").read_text())
    assert numbers["seconds"] == [1.5] and set(numbers["conditions"]) == {"command", "commit", "date", "machine"}
    assert page.startswith("# Loading\n") and page.endswith("| way | s |\n| --- | ---: |\n| plain | 1.5 |\n")
    assert numbers["conditions"]["commit"] in page
    assert page in capsys.readouterr().out
