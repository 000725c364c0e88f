"""The benchmarks' own code: what is a score, what the tables say, and that fast and plain ways do the same."""

from __future__ import annotations

import importlib
import importlib.util
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
import tyro

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


@pytest.fixture
def training(arms: ModuleType) -> ModuleType:
    return importlib.import_module("training")


@pytest.fixture
def packs_learning(arms: ModuleType) -> ModuleType:
    return importlib.import_module("packs_learning")


@pytest.fixture
def work(training: ModuleType):
    """Small sizes, of which the prefix is long enough for torch's kernel."""
    return training.Work(
        width=32, layers=2, heads=2, kv_heads=1, vocabulary=300, prefix=1600, question=6, answer=2, questions=3
    )


@pytest.mark.parametrize("changes", [{}, {"prefix": 90}, {"frames": 1}, {"checkpointing": True}])
def test_a_pack_learns_what_its_samples_learn(training: ModuleType, work, changes: dict) -> None:
    assert training.difference(replace(work, **changes)) < 1e-5


def test_all_ways_of_training_are_one(training: ModuleType, work) -> None:
    model, scene = training.build(work), training.draw(work)
    gradients = []
    for way, learn in training.WAYS.items():
        model.zero_grad()
        assert learn(model, scene) == pytest.approx(training.learn_apart(model, scene), rel=1e-5), way
        model.zero_grad()
        learn(model, scene)
        gradients.append(model.get_input_embeddings().weight.grad.clone())
    assert all((gradient - gradients[0]).norm() < 1e-5 * gradients[0].norm() for gradient in gradients)


@pytest.mark.slow
def test_the_training_benchmark_runs(training: ModuleType, work, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    training.main(work, ks=(1, 2), prefixes=(100, 200), frames=(1, 2), repeats=1, out=tmp_path / "training.py")
    numbers = json.loads((tmp_path / "training.json").read_text())
    assert numbers["gradient_difference"]["checkpointing"] < 1e-5
    assert {len(numbers[sweep]["seconds"]) for sweep in ("questions", "prefix", "frames")} == {2}
    assert (tmp_path / "training.md").read_text() in capsys.readouterr().out


def test_a_budget_has_its_questions_a_step(packs_learning: ModuleType) -> None:
    arm = packs_learning.Budget(questions_per_scene=4, steps=10, questions=16).arm
    flags = dict(zip(arm.train[::2], arm.train[1::2], strict=True))
    assert flags == {"--train.questions-per-scene": "4", "--train.scenes-per-step": "4", "--train.packs": "40"}


def test_steps_for_the_same_minutes(packs_learning: ModuleType) -> None:
    """A second a step after ten to begin."""
    assert packs_learning.same_minutes((10, 20, 30), (20.0, 31.0, 40.0), minutes=1.0) == 50
    assert packs_learning.same_minutes((10, 30), (20.0, 40.0), minutes=0.1) == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ks": (1, 3)}, "each must divide it"),
        ({"ks": (0,)}, r"--ks: expected numbers of at least 1, got \(0,\)"),
        ({"steps": (150,)}, "expected two growing numbers or more"),
        ({"steps": (300, 150)}, "expected two growing numbers or more"),
        ({"minutes": 0.0}, "--minutes 0: expected"),
    ],
)
def test_packs_that_cannot_be_compared_are_refused(
    packs_learning: ModuleType, tmp_path: Path, changes: dict, message: str
) -> None:
    """Before the first training, and not when the last has ended."""
    with pytest.raises(ValueError, match=message):
        packs_learning.main(tmp_path, **changes)


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("coverage_speed", {"images": 0}, "--images: expected numbers of at least 1, got 0"),
        ("coverage_speed", {"growth": ()}, r"--growth: expected numbers of at least 1, got \(\)"),
        ("loading", {"frames": 0}, "--frames: expected numbers of at least 1, got 0"),
        ("training", {"repeats": 0}, "--repeats: expected numbers of at least 1, got 0"),
    ],
)
def test_nothing_to_measure_is_refused(arms: ModuleType, name: str, changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        importlib.import_module(name).main(**changes)


def test_heads_that_make_no_model_are_refused(training: ModuleType, work) -> None:
    with pytest.raises(ValueError, match="a width of 32 cannot be made of 3 heads"):
        training.main(replace(work, heads=3))


def test_what_a_training_said_before_it_failed_is_told(arms: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"`llava eval` ended with code 2: llava eval: nowhere is not a folder.*a\.log"
    ):
        arms.run_llava(["eval", "nowhere"], tmp_path / "a.log")


def test_a_script_tells_without_a_traceback(tmp_path: Path) -> None:
    command = [sys.executable, FOLDER / "packs_learning.py", "--data", tmp_path, "--ks", "3"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=FOLDER.parent)
    assert done.returncode == 2
    assert done.stderr.startswith("packs_learning.py: a step of 16 questions cannot be made of packs of (3,)")


@pytest.mark.parametrize("name", ["packs_learning", "position_encoding", "proposals", "sampling"])
def test_its_help_says_what_it_does(arms: ModuleType, name: str, capsys: pytest.CaptureFixture) -> None:
    module = importlib.import_module(name)
    with pytest.raises(SystemExit) as stopped:
        tyro.cli(module.main, args=["--help"])
    assert stopped.value.code == 0 and "--data" in capsys.readouterr().out


@pytest.mark.slow
def test_speed_of_maximum_coverage(tmp_path: Path) -> None:
    """At a size that says nothing about speed: both ways choose the same frames, else there would be no numbers."""
    small = ["--images", "8", "--growth", "8", "24", "--scenes", "4", "--repeats", "1", "--size", "64", "48"]
    command = [sys.executable, FOLDER / "coverage_speed.py", *small, "--work", tmp_path, "--results", tmp_path]
    subprocess.run(command, check=True, cwd=FOLDER.parent)
    numbers = json.loads((tmp_path / "coverage_speed.json").read_text())
    assert numbers["ways"]["plain"]["ratio"] == 1 and len(numbers["ways"]) == 3
    assert set(numbers["growth"]["seconds"]) == {"8", "24"}
    page = (tmp_path / "coverage_speed.md").read_text()
    assert "Seconds grow as images to the power of" in page and page.count("| plain |") == 1


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
    subprocess.run([sys.executable, FOLDER / "summary.py", "--folder", tmp_path], check=True, cwd=FOLDER.parent)
    page = (tmp_path / "README.md").read_text()
    assert "| loading a scene, warm | " in page and "training" not in page.split("| --- |")[-1]
    assert (tmp_path / "summary.png").stat().st_size > 1000


def test_a_summary_of_nothing_says_what_to_run(arms: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="run the benchmarks first"):
        importlib.import_module("summary").main(tmp_path)


def test_an_earlier_commit_is_checked_out_and_gone_afterwards(arms: ModuleType) -> None:
    quickstart = importlib.import_module("quickstart")
    if subprocess.run(["git", "-C", FOLDER, "rev-parse", "HEAD"], capture_output=True).returncode:
        pytest.skip("not a git checkout")
    with quickstart.checked_out("HEAD") as code:
        assert (code / "llava/cli.py").is_file()
    listed = subprocess.run(["git", "-C", FOLDER, "worktree", "list"], capture_output=True, text=True, check=True)
    assert not code.exists() and str(code) not in listed.stdout
    with pytest.raises(ValueError, match="'never-made' cannot be had"), quickstart.checked_out("never-made"):
        pass
