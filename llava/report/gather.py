"""What a run has left on disk, read once: scores, answers, training log, recipe, baselines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from llava.answer_files import read_answers
from llava.resumable import read_json
from llava.tasks import TASKS
from llava.tasks.task import Task

# Keys of a scores file that say how the scores were made; all other numbers in it are scores.
CONDITIONS = ("mode", "boxes", "strategy", "frames", "split", "blind", "model", "weights", "count", "scenes")


@dataclass(frozen=True)
class Result:
    """One benchmark of the run."""

    task: Task
    scores: dict[str, float]  # by score key, times 100
    conditions: dict[str, Any]  # CONDITIONS as far as they are known
    answers: list[dict[str, Any]] = field(repr=False)  # lines of the answers file
    baselines: dict[str, dict[str, float]] = field(default_factory=dict)  # "blind" | "majority" ... -> scores


@dataclass(frozen=True)
class Run:
    """Everything the report is made of, but for the pictures."""

    name: str
    results: list[Result]  # in the order of TASKS
    missing: list[str]  # benchmarks that were not evaluated
    recipe: dict[str, Any] | None
    log: list[dict[str, float]]  # the Trainer's log entries that have a loss, by step


def read_run(run_dir: Path, checkpoint: Path | None = None) -> Run:
    """Gather the run `results/<run>` and its `results/<benchmark>/<run>.{json,jsonl}`.

    `run_dir/baselines.json`, if there, is {baseline: {benchmark: {score key: value}}}. The checkpoint is the folder
    of the training run or of one of its checkpoints; without it there is no training curve and no recipe.
    Raises ValueError when no benchmark of that run was scored, or a file is not valid JSON.
    """
    results_dir, name = run_dir.parent, run_dir.name
    baselines_file = run_dir / "baselines.json"
    baselines = read_json(baselines_file) if baselines_file.exists() else {}
    results, missing = [], []
    for task in TASKS.values():
        path = results_dir / task.name / f"{name}.json"
        if path.exists():
            found = {kind: scores[task.name] for kind, scores in baselines.items() if task.name in scores}
            results.append(_read_result(task, path, found))
        else:
            missing.append(task.name)
    if not results:
        looked = ", ".join(str(results_dir / task / f"{name}.json") for task in TASKS)
        raise ValueError(f"run {name!r} has no scores to report; looked for {looked}: run `llava eval` first")
    recipe, log = _read_checkpoint(checkpoint) if checkpoint else (None, [])
    return Run(name, results, missing, recipe, log)


def _read_result(task: Task, path: Path, baselines: dict[str, dict[str, float]]) -> Result:
    values = read_json(path)
    scores = {k: float(v) for k, v in values.items() if k not in CONDITIONS and isinstance(v, (int, float))}
    conditions = {key: values[key] for key in CONDITIONS if key in values}
    answers_file = path.with_suffix(".jsonl")
    answers = read_answers(answers_file) if answers_file.exists() else []
    return Result(task, scores, conditions, answers, baselines)


def _read_checkpoint(folder: Path) -> tuple[dict[str, Any] | None, list[dict[str, float]]]:
    """The recipe and the loss log of a training run; either may be missing."""
    state = _latest(folder, "trainer_state.json")
    log = [entry for entry in read_json(state)["log_history"] if "loss" in entry] if state else []
    recipe = _latest(folder, "recipe.json")
    return (read_json(recipe) if recipe else None), log


def _latest(folder: Path, name: str) -> Path | None:
    """The file in the folder itself, else in its checkpoint-<step> with the highest step, else in its parent."""
    steps = sorted(folder.glob(f"checkpoint-*/{name}"), key=lambda p: int(p.parent.name.rpartition("-")[2]))
    candidates = [folder / name, *reversed(steps), folder.parent / name]
    return next((path for path in candidates if path.exists()), None)


def statement(results: Sequence[Result]) -> list[tuple[str, str]]:
    """(condition, value) pairs that say how the scores were made; where benchmarks differ, each value in turn."""
    words = {
        "mode": "mode",
        "boxes": "boxes",
        "strategy": "frame choice",
        "frames": "frames, at most",
        "split": "split",
    }
    lines = []
    for key, word in words.items():
        values: dict[str, list[str]] = {}
        for result in results:
            value = str(result.conditions.get(key, "not stated"))
            said = "own proposals" if (key, value) == ("boxes", "own") else value
            values.setdefault(said, []).append(result.task.name)
        text = next(iter(values)) if len(values) == 1 else "; ".join(f"{v} ({', '.join(t)})" for v, t in values.items())
        lines.append((word, text))
    if any(result.conditions.get("blind") for result in results):
        lines.append(("shown", "nothing (blind)"))
    return lines
