"""benchmarks/evaluation.py at a small size: both ways answer alike, on rooms and on the recorded model's 32 frames."""

from __future__ import annotations

import importlib
import json
import shutil
from pathlib import Path
from types import ModuleType

import pytest

FOLDER = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    """The script in a folder of its own, where it may leave its results."""
    for name in ("evaluation.py", "measure.py"):
        shutil.copy(FOLDER / name, tmp_path)
    shutil.copytree(FOLDER / "baselines", tmp_path / "baselines")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("LLAVA_CACHE_GB", "0")  # as the script does, for the tests behind it to have theirs again
    for name in ("evaluation", "measure", "baselines", "baselines.evaluation"):
        monkeypatch.delitem(importlib.sys.modules, name, raising=False)
    return importlib.import_module("evaluation")


def test_its_help_says_what_it_does(script: ModuleType, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit) as stopped:
        script.tyro.cli(script.main, args=["--help"])
    assert stopped.value.code == 0 and "--checkpoint" in capsys.readouterr().out


def test_what_is_not_there_is_told_before_anything_is_measured(
    script: ModuleType, rooms_data: Path, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=r"no recorded model \(io.npz\): name its folder with --golden"):
        script.main(script.Where(tmp_path, rooms_data, tmp_path))
    (tmp_path / "io.npz").touch()
    with pytest.raises(ValueError, match="has no 9 scenes of 16 questions"):
        script.main(script.Where(tmp_path, rooms_data, tmp_path), questions=(1,), scenes=(9,), frames=(2,), together=1)
    with pytest.raises(ValueError, match="--each: expected numbers of at least 1, got 0"):
        script.main(script.Where(tmp_path, rooms_data, tmp_path), each=0)


@pytest.mark.slow
def test_the_tiny_model_answers_alike_at_32_frames(script: ModuleType, golden, rooms_data: Path) -> None:
    where = script.Where(data=rooms_data, golden=golden("04_tiny_model"))
    same = script.compare(script.Work(where, "tiny", 32, questions=5))
    assert same["same texts"] == same["texts"] == 3
    assert same["same boxes"] == same["boxes"] == 2
    assert same["largest difference of a score"] < 1e-5


@pytest.mark.slow
def test_a_run_leaves_its_tables(script: ModuleType, golden, rooms_data: Path, tiny_base: Path, tmp_path: Path) -> None:
    where = script.Where(tiny_base, rooms_data, golden("04_tiny_model"))
    script.main(where, 1, questions=(5,), scenes=(1,), frames=(1, 2), tiny_frames=1, together=1, each=5)
    numbers = json.loads((tmp_path / "evaluation.json").read_text())
    assert set(numbers) == {"conditions", "compared", "frames"}
    for found in numbers["compared"].values():
        assert found["model"]["one by one"] > 0 and found["peak MB"]["together"] > 50
    assert "| cost grows with the power |" in (tmp_path / "evaluation.md").read_text()
