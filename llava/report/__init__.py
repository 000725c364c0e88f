"""One page about a run: what was scored and how, beside the published numbers, with pictures of what it did.

results/<benchmark>/<run>.json    scores, with how they were made
results/<benchmark>/<run>.jsonl   answers, one a line
results/<run>/baselines.json      optional: {"blind": {"scanqa": {"em": 31.2}}, ...}
a checkpoint folder               optional: trainer_state.json, recipe.json
    -> results/<run>/report.{html,md,json}
"""

from __future__ import annotations

import json
import logging
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llava.resumable import replaced

if TYPE_CHECKING:
    from rich.table import Table

    from llava.report.examples import Example
    from llava.report.gather import Run
    from llava.report.scenes import Scenes

log = logging.getLogger(__name__)

EXAMPLES = 3  # good ones a benchmark, and as many bad ones
COVERAGE_SCENES = 8
COVERAGE_COUNTS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32)


def make_report(run_dir: Path, data: Path, checkpoint: Path | None = None) -> Path:
    """Write report.html, report.md and report.json into `results/<run>` and return the HTML's path.

    Args:
        run_dir: `results/<run>`; the scores lie beside it in `results/<benchmark>/<run>.json`.
        data: data folder with the run's scenes; pictures of scenes that it lacks are left out.
        checkpoint: folder of the training run, for the loss curve and the recipe.

    Raises:
        ValueError: nothing was scored under that name, or a file is damaged.
    """
    from llava.report import charts
    from llava.report.gather import read_run
    from llava.report.page import render_html, render_markdown
    from llava.report.scenes import Scenes

    run = read_run(run_dir, checkpoint)
    scenes = Scenes(data, run.results[0].conditions)
    examples = _examples(run, scenes)
    pictures = {"loss": charts.loss_chart(run.log)} if run.log else {}
    coverage = _coverage(run, scenes)
    text = ""
    if coverage:
        pictures["coverage"] = charts.coverage_chart(coverage["counts"], coverage["shares"], scenes.max_frames)
        text = f"Mean of {coverage['scenes']} scenes, and their spread; 100 % is what all frames see together."
    made = datetime.now()
    run_dir.mkdir(parents=True, exist_ok=True)
    page = render_html(run, examples, pictures, _overview(run, scenes), text, made)
    _write(run_dir / "report.md", render_markdown(run, examples))
    _write(run_dir / "report.json", json.dumps(_summary(run, coverage, examples, made), indent=1) + "\n")
    return _write(run_dir / "report.html", page)


def scores_table(run_dir: Path) -> Table:
    """The headline scores of `results/<run>` for a terminal; ValueError as `make_report`."""
    from llava.report.gather import read_run
    from llava.report.tables import terminal_table

    return terminal_table(read_run(run_dir).results)


def _examples(run: Run, scenes: Scenes) -> dict[str, list[tuple[Example, bytes | None]]]:
    from llava.report.examples import pick_examples

    chosen = {}
    for result in run.results:
        if result.answers:
            picked = pick_examples(result.task.name, result.answers, EXAMPLES)
            chosen[result.task.name] = [(example, _picture(example, scenes)) for example in picked]
    return chosen


def _picture(example: Example, scenes: Scenes) -> bytes | None:
    """The frame that shows an example's boxes best, and the room from above; None without boxes or scene."""
    from llava.report.pictures import png, side_by_side

    asks_for_boxes = example.said is None or len(example.true_boxes)
    look = scenes.look_at(example.scene) if example.scene and asks_for_boxes else None
    if look is None:
        return None
    shown = example.true_boxes if len(example.true_boxes) else example.predicted_boxes
    frame = look.frame_with_boxes(look.best_frame(shown), example.true_boxes, example.predicted_boxes)
    above = look.map_with_boxes(example.true_boxes, example.predicted_boxes, frame.height)
    return png(side_by_side([frame, above]), colors=256)


def _scene_names(run: Run) -> list[str]:
    """Scenes that were asked about, in order of name."""
    return sorted({line["scene"] for result in run.results for line in result.answers if line.get("scene")})


def _coverage(run: Run, scenes: Scenes) -> dict[str, Any] | None:
    """Coverage against frame count, averaged over some of the run's scenes; None when none of them is there."""
    from llava.report.scenes import coverage

    names = _scene_names(run)
    spread = names[:: max(1, len(names) // COVERAGE_SCENES)][:COVERAGE_SCENES]
    found = [look for name in spread if (look := scenes.look_at(name))]
    if not found:
        log.warning("none of the run's scenes is in %s: the report has no pictures of them", scenes.data)
        return None
    fewest = min(len(look.scene.frames) for look in found)
    counts = [count for count in COVERAGE_COUNTS if count <= fewest]
    return {"counts": counts, "shares": coverage(found, counts), "scenes": len(found)}


def _overview(run: Run, scenes: Scenes) -> tuple[str, bytes] | None:
    """The name of the first scene that is there, and the picture of its chosen frames."""
    from llava.frames import frames_picture
    from llava.report.pictures import png

    for name in _scene_names(run):
        look = scenes.look_at(name)
        if look:
            return name, png(frames_picture(look.scene, look.indices, scenes.strategy, look.voxels), colors=256)
    return None


def _summary(run: Run, coverage: dict[str, Any] | None, examples: dict[str, list], made: datetime) -> dict[str, Any]:
    """What report.json holds."""
    shares = {name: shares.mean(axis=0).tolist() for name, shares in coverage["shares"].items()} if coverage else {}
    return {
        "run": run.name,
        "made": made.isoformat(timespec="seconds"),
        "recipe": run.recipe,
        "benchmarks": {
            result.task.name: {
                "scores": result.scores,
                "published": dict(result.task.published),
                "baselines": result.baselines,
                **result.conditions,
            }
            for result in run.results
        },
        "not_evaluated": run.missing,
        "training": run.log,
        "coverage": {"frames": coverage["counts"], **shares} if coverage else None,
        "examples": {task: [_plain(example) for example, _ in chosen] for task, chosen in examples.items()},
    }


def _plain(example: Example) -> dict[str, Any]:
    values = asdict(example)
    return values | {name: values[name].tolist() for name in ("true_boxes", "predicted_boxes")}


def _write(path: Path, text: str) -> Path:
    """Write so that no reader finds half a report."""
    with replaced(path) as partial:
        partial.write_text(text, encoding="utf-8")
    return path
