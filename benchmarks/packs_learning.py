"""Do scene packs learn as well? Score against wall-clock on rooms, for K = 1, 4 and 16 questions a scene.

    python benchmarks/packs_learning.py --data data-rooms-560

A step has the same number of questions whatever K is: K = 16 takes one scene, K = 1 sixteen. First every K goes the
same numbers of steps; then each goes as many as fit into the same minutes at its own pace. Writes
benchmarks/packs_learning.{json,md,png}. A quick try: --recipe rooms-debug --ks 2 4 --questions 4 --steps 2 4
--minutes 0.1 --seeds 0. A run that was stopped and taken up again knows the time of its last part alone: delete its
folder.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

from arms import Arm, table, train_and_evaluate, trained_seconds
from measure import check_counts, write

from llava.complaints import run_script

SCORE = ("scanrefer acc@0.25", "multi3drefer f1@0.25", "scan2cap cider@0.5", "scanqa em", "sqa3d em")


@dataclass(frozen=True)
class Budget:
    """One training: so many steps with K questions a scene."""

    questions_per_scene: int
    steps: int
    questions: int  # a step, of all its scenes

    @property
    def arm(self) -> Arm:
        scenes = self.questions // self.questions_per_scene
        settings = {
            "questions-per-scene": self.questions_per_scene,
            "scenes-per-step": scenes,
            "packs": self.steps * scenes,
        }
        flags = [text for name, value in settings.items() for text in (f"--train.{name}", str(value))]
        return Arm(f"K{self.questions_per_scene}-{self.steps}", tuple(flags))


def same_minutes(steps: Sequence[int], seconds: Sequence[float], minutes: float) -> int:
    """How many steps fit into the minutes, at the pace of trainings of so many steps that took so many seconds.

    What a training takes before its first step counts: time is taken as a straight line through the shortest and the
    longest of them.
    """
    pace = (seconds[-1] - seconds[0]) / (steps[-1] - steps[0])
    before = max(seconds[0] - pace * steps[0], 0.0)
    return max(round((60 * minutes - before) / pace), 1)


def summary(runs: Sequence[Mapping[str, float]]) -> float:
    """The mean of the five benchmarks' scores, over the seeds."""
    return mean(mean(scores[name] for name in SCORE) for scores in runs)


def plot(curves: Mapping[int, Sequence[tuple[float, float]]], path: Path) -> None:
    """Score against seconds, a line for each K."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, NullFormatter, ScalarFormatter

    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    for k, points in curves.items():
        seconds, scores = zip(*sorted(points), strict=True)
        axes.plot(seconds, scores, marker="o", label=f"K = {k}")
    axes.set(xscale="log", xlabel="seconds of training", ylabel="mean of five scores")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.legend()
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=120)


def main(
    data: Path,
    recipe: str = "rooms",
    ks: tuple[int, ...] = (1, 4, 16),
    questions: int = 16,
    steps: tuple[int, ...] = (150, 300, 600),
    minutes: float = 3.0,
    seeds: tuple[int, ...] = (0, 1),
    jobs: int = 2,
    out: Path = Path("checkpoints/packs_learning"),
    page: Path = Path(__file__),
) -> None:
    """Train and score every K, for the same steps and for the same time.

    Args:
        questions: a step; every K must divide it.
        steps: at least two numbers, growing: they also give each K's pace.
    """
    check_counts(ks=ks, questions=questions, steps=steps, jobs=jobs)
    if len(steps) < 2 or sorted(set(steps)) != list(steps) or not minutes > 0:
        raise ValueError(f"--steps {steps}, --minutes {minutes:g}: expected two growing numbers or more, and some time")
    if any(questions % k for k in ks):
        raise ValueError(f"a step of {questions} questions cannot be made of packs of {ks}: each must divide it")

    def run(budgets: Sequence[Budget]) -> tuple[dict[str, list], dict[str, list[float]]]:
        scores = train_and_evaluate([budget.arm for budget in budgets], seeds, recipe, data, out, jobs)
        folder = out / "checkpoints"
        return scores, {name: [trained_seconds(folder / f"{name}-{seed}") for seed in seeds] for name in scores}

    alike = [Budget(k, count, questions) for k in ks for count in steps]
    scores, seconds = run(alike)
    timed = []
    for k in ks:
        taken = [mean(seconds[Budget(k, count, questions).arm.name]) for count in steps]
        timed.append(Budget(k, same_minutes(steps, taken, minutes), questions))
    timed_scores, timed_seconds = run(timed)

    all_scores, all_seconds = scores | timed_scores, seconds | timed_seconds
    points: dict[int, list[tuple[float, float]]] = {k: [] for k in ks}
    for name, budget in {budget.arm.name: budget for budget in (*alike, *timed)}.items():
        points[budget.questions_per_scene].append((mean(all_seconds[name]), summary(all_scores[name])))
    plot(points, page.with_suffix(".png"))

    def titled(budgets: Sequence[Budget]) -> dict[str, list]:
        named = {}
        for budget in budgets:
            runs, spent = all_scores[budget.arm.name], mean(all_seconds[budget.arm.name])
            title = f"K = {budget.questions_per_scene}, {budget.steps} steps, {spent:.0f} s, mean {summary(runs):.1f}"
            named[title] = runs
        return named

    text = [
        f"Recipe `{recipe}`, steps of {questions} questions, seeds {', '.join(map(str, seeds))}. *Mean* is of the five "
        "benchmarks' scores (ScanRefer Acc@0.25, Multi3DRefer F1@0.25, Scan2Cap CIDEr@0.5, ScanQA and SQA3D EM). "
        f"Seconds are of training with one thread, {jobs} trainings beside each other.",
        f"![score against wall-clock]({page.stem}.png)",
        "## The same steps",
        table(titled(alike)),
        f"## The same time: {minutes:g} minutes",
        table(titled(timed)),
    ]
    numbers = {"seeds": seeds, "questions": questions, "scores": all_scores, "seconds": all_seconds, "curves": points}
    write(page, "Do scene packs learn as well?", "\n\n".join(text), numbers)


if __name__ == "__main__":
    run_script(main, __doc__)
