"""Trains and scores the arms of a comparison through the `llava` command, some at a time, a thread each.

What is finished is not done again, so a stopped comparison goes on where it was.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

from tqdm import tqdm

SCORES = {  # benchmark -> its scores that are compared, and what the table calls them
    "scanrefer": {"unique_acc@0.25": "ScanRefer unique", "multiple_acc@0.25": "multiple", "acc@0.25": "Acc@0.25"},
    "multi3drefer": {"f1@0.25": "Multi3DRefer F1@0.25"},
    "scan2cap": {"class_word": "Scan2Cap class word", "cider@0.5": "CIDEr@0.5"},
    "scanqa": {"em": "ScanQA EM"},
    "sqa3d": {"em": "SQA3D EM"},
}
ONE_THREAD = {"OMP_NUM_THREADS": "1"}  # arms run beside each other


@dataclass(frozen=True)
class Arm:
    """One thing to train or to evaluate in another way."""

    name: str
    train: tuple[str, ...] = ()  # overrides of the recipe
    evaluate: tuple[str, ...] = ()


def train_and_evaluate(
    arms: Sequence[Arm], seeds: Sequence[int], recipe: str, data: Path, out: Path, jobs: int
) -> dict[str, list]:
    """Scores by arm, a dictionary for each seed: {"scanqa em": percent, ...}."""

    def one(arm: Arm, seed: int) -> dict[str, float]:
        checkpoint = out / "checkpoints" / f"{arm.name}-{seed}"
        settings = ["--train.seed", str(seed), "--train.threads", "1", *arm.train]
        run_llava(["train", recipe, "--data", data, "--out", checkpoint, *settings], checkpoint.with_suffix(".log"))
        return _score(arm, checkpoint, data, out / "results" / checkpoint.name)

    todo = [(arm, seed) for seed in seeds for arm in arms]
    scored = _in_parallel(one, todo, jobs, out.name)
    return {arm.name: [scores for (a, _), scores in zip(todo, scored, strict=True) if a == arm] for arm in arms}


def evaluate(arms: Sequence[Arm], checkpoint: Path, data: Path, out: Path, jobs: int) -> dict[str, list]:
    """Scores by arm of one trained checkpoint, in the form of `train_and_evaluate`."""
    scored = _in_parallel(
        lambda arm: _score(arm, checkpoint, data, out / "results" / arm.name.replace(", ", "-").replace(" ", "-")),
        [(arm,) for arm in arms],
        jobs,
        out.name,
    )
    return {arm.name: [scores] for arm, scores in zip(arms, scored, strict=True)}


def _in_parallel(one: Callable[..., dict], todo: Sequence[tuple], jobs: int, title: str) -> list[dict]:
    with ThreadPoolExecutor(jobs) as pool:
        return list(tqdm(pool.map(lambda arguments: one(*arguments), todo), total=len(todo), desc=title))


def _score(arm: Arm, checkpoint: Path, data: Path, results: Path) -> dict[str, float]:
    run_llava(["eval", checkpoint, "--data", data, "--results", results, *arm.evaluate], results.with_suffix(".log"))
    found = {}
    for benchmark, names in SCORES.items():
        (path,) = [p for p in (results / benchmark).glob("*.json") if not p.name.endswith(".run.json")]
        scores = json.loads(path.read_text())
        found |= {f"{benchmark} {name}": scores[name] for name in names}
    return found


def run_llava(
    arguments: Sequence[str | Path], log: Path, settings: Mapping[str, str] = ONE_THREAD, folder: Path | None = None
) -> None:
    """Run `llava` with these arguments, in an environment with these settings; what it says goes to the log.

    `folder` is where it runs: Python looks for the code there before it looks in PYTHONPATH.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a") as file:
        done = subprocess.run(
            [sys.executable, "-m", "llava.cli", *map(str, arguments)],
            stdout=file,
            stderr=file,
            env={**os.environ, **settings},
            cwd=folder,
        )
    if done.returncode:
        last = log.read_text(errors="replace").strip().rpartition("\n")[2]
        raise ValueError(f"`llava {arguments[0]}` ended with code {done.returncode}: {last} ({log} has all)")


def trained_seconds(checkpoint: Path) -> float:
    """Seconds that the Trainer took, loading of scenes included, imports and the model's own loading not."""
    history = json.loads((checkpoint / "trainer_state.json").read_text())["log_history"]
    return next(line["train_runtime"] for line in reversed(history) if "train_runtime" in line)


def table(found: Mapping[str, Sequence[Mapping[str, float]]]) -> str:
    """A Markdown table: mean over the seeds, and in brackets how far apart the seeds lie (largest minus smallest)."""
    titles = {f"{benchmark} {name}": title for benchmark, names in SCORES.items() for name, title in names.items()}
    lines = ["| | " + " | ".join(titles.values()) + " |", "|---" * (len(titles) + 1) + "|"]
    for arm, runs in found.items():
        cells = []
        for key in titles:
            values = [scores[key] for scores in runs]
            spread = f" ({max(values) - min(values):.1f})" if len(values) > 1 else ""
            cells.append(f"{mean(values):.1f}{spread}")
        lines.append(f"| {arm} | " + " | ".join(cells) + " |")
    return "\n".join(lines)
