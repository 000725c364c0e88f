"""`llava prepare`: run the steps that still have something to do, in order, one line each."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from llava.captures.sens import SAMPLED_EVERY
from llava.prepare import records, steps
from llava.prepare.layout import Layout
from llava.prepare.steps import Outcome
from llava.prepare.workers import Workers
from llava.resumable import only_one

STEPS: dict[str, Callable[..., Outcome]] = {
    "posed images": steps.posed_images,
    "points": steps.points,
    "gt boxes": steps.gt_boxes,
    "proposals": steps.proposals,
    "voxels": steps.voxels,
    "frame choice": steps.selection,
    "records": records.records,
}
SHOWN_PROBLEMS = 10


def prepare(data: Path, workers: int | None = None, fast: bool = False, ray: str | None = None) -> None:
    """Make all that a data folder still lacks, from `.sens` and meshes to the benchmarks' records.

    Can be killed at any time and run again: outputs appear whole or not at all, and inputs are never written.

    Args:
        data: the raw half of a data folder, as `llava rooms make` or ScanNet with its benchmarks gives it.
        workers: processes; default: one a processor.
        fast: every tenth frame of all videos, not only of long ones.
        ray: address of a Ray cluster to work on (see `Workers`); default: here.

    Raises:
        ValueError: no such folder or no split lists in it, another process prepares it, no such cluster, or inputs of
            some scenes are damaged: everything else is prepared first, and they are named.
    """
    problems = []
    options = {"posed images": {"every": SAMPLED_EVERY}} if fast else {}
    with _alone(data) as layout, Workers(workers, ray) as pool:
        for title, step in STEPS.items():
            problems += _run(title, step, layout, pool, **options.get(title, {})).problems
    _complain(layout.data, problems)


def run_step(title: str, data: Path, workers: int | None = None, ray: str | None = None, **options) -> None:
    """One step of `STEPS`, for the scripts of scripts/3d/preprocessing; `options` are the step's own."""
    with _alone(data) as layout, Workers(workers, ray) as pool:
        outcome = _run(title, STEPS[title], layout, pool, **options)
    _complain(layout.data, outcome.problems)


@contextmanager
def _alone(data: Path) -> Iterator[Layout]:
    layout = Layout(Path(data).absolute())  # a worker of a cluster stands in another folder
    with only_one(layout.data, f"is preparing {layout.data}"):
        yield layout


def _run(title: str, step: Callable[..., Outcome], layout: Layout, pool: Workers, **options) -> Outcome:
    start = time.perf_counter()
    outcome = step(layout, pool, **options)
    without = f", {outcome.without} without {outcome.needs}" if outcome.without else ""
    failed = f", {len(outcome.problems)} FAILED" if outcome.problems else ""
    seconds = time.perf_counter() - start
    print(f"{title:<12} {outcome.made:>5} made, {outcome.there:>5} there{without}{failed}  {seconds:.1f} s", flush=True)
    for note in outcome.notes[:SHOWN_PROBLEMS]:
        print(f"  {note}")
    if len(outcome.notes) > SHOWN_PROBLEMS:
        print(f"  and {len(outcome.notes) - SHOWN_PROBLEMS} more of the kind")
    return outcome


def _complain(data: Path, problems) -> None:
    if problems:
        shown = "\n".join(f"  {problem}" for problem in problems[:SHOWN_PROBLEMS])
        more = f"\n  and {len(problems) - SHOWN_PROBLEMS} more" if len(problems) > SHOWN_PROBLEMS else ""
        raise ValueError(f"{len(problems)} could not be prepared (`llava doctor {data}` says more):\n{shown}{more}")
