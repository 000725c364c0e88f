"""Scores as rows: the headline of each benchmark, all scores by kind of question, for page, text and terminal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llava.report.gather import Result

if TYPE_CHECKING:
    from rich.table import Table

TITLES = {
    "scanrefer": "ScanRefer",
    "multi3drefer": "Multi3DRefer",
    "scan2cap": "Scan2Cap",
    "scanqa": "ScanQA",
    "sqa3d": "SQA3D",
}
KINDS = {
    "zt_w_d": "no target, distractors",
    "zt_wo_d": "no target, no distractor",
    "st_w_d": "one target, distractors",
    "st_wo_d": "one target, no distractor",
    "mt": "several targets",
}
METRICS = {
    "f1": "F1",
    "close_f1": "our choice F1",
    "em": "EM",
    "em_cleaned": "EM cleaned",
    "em_refined": "EM refined",
    "cider": "CIDEr",
    "meteor": "METEOR",
    "rouge_l": "ROUGE-L",
    "class_word": "class word",
    "class_first": "class first",
    "color_word": "colour word",
} | {f"bleu{n}": f"BLEU-{n}" for n in range(1, 5)}


@dataclass(frozen=True)
class Row:
    """One headline score."""

    task: str
    key: str
    metric: str  # its column title
    value: float
    baselines: dict[str, float]
    published: float | None
    count: int | None  # questions


@dataclass(frozen=True)
class Breakdown:
    """All scores of one benchmark: kinds of question in rows, metrics in columns."""

    task: str
    columns: list[str]
    rows: list[tuple[str, list[float | None]]]


def headline_rows(results: Sequence[Result]) -> list[Row]:
    """The scores that each task puts first, those with a published number before the others."""
    rows = []
    for result in results:
        task = result.task
        for key, metric in task.headline.items():
            if key not in result.scores:
                continue
            baselines = {name: scores[key] for name, scores in result.baselines.items() if key in scores}
            count = result.conditions.get("count")
            rows.append(Row(task.name, key, metric, result.scores[key], baselines, task.published.get(key), count))
    return rows


def breakdown(result: Result) -> Breakdown:
    """Sort score keys `<kind>_<metric>` and `<metric>@<IoU>` into a table.

    The kinds are the question types of the answers; a caption metric with and without an IoU gate becomes one
    column and two rows.
    """
    scores = result.scores
    kinds = {line["question_type"] for line in result.answers}
    cells: dict[str, dict[str, float]] = {}
    for key, value in scores.items():
        kind = next((kind for kind in kinds if key.startswith(f"{kind}_")), "")
        metric = key.removeprefix(f"{kind}_")
        plain, _, threshold = metric.partition("@")
        if plain in scores and threshold:
            metric, kind = plain, f"{kind} IoU ≥ {threshold}".strip()
        cells.setdefault(kind, {})[metric] = value
    columns = list(dict.fromkeys(metric for row in cells.values() for metric in row))
    rows = [(KINDS.get(kind, kind) or "all", [row.get(column) for column in columns]) for kind, row in cells.items()]
    return Breakdown(result.task.name, [metric_title(column) for column in columns], rows)


def metric_title(metric: str) -> str:
    """`acc@0.25` -> `Acc@0.25`, `bleu4` -> `BLEU-4`."""
    plain, at, threshold = metric.partition("@")
    return METRICS.get(plain, plain[:1].upper() + plain[1:].replace("_", " ")) + at + threshold


def published_note(results: Sequence[Result]) -> str:
    """What the published numbers beside these results are of."""
    splits: dict[str, list[str]] = {}
    for result in results:
        if result.task.published:
            splits.setdefault(result.task.published_split, []).append(title(result.task.name))
    where = "; ".join(f"{split} ({', '.join(names)})" for split, names in splits.items())
    return (
        "Published: Video-3D LLM (CVPR 2025), 7 B parameters, 32 uniform frames, ScanNet, detector proposals, split "
        f"{where}."
    )


def title(task: str) -> str:
    """How a benchmark writes its own name."""
    return TITLES.get(task, task)


def number(value: float | None) -> str:
    """One decimal; a dash for what is not known."""
    return "–" if value is None else f"{value:.1f}"


def baseline_names(rows: Sequence[Row]) -> list[str]:
    """Every baseline that some row has, in order of appearance."""
    return list(dict.fromkeys(name for row in rows for name in row.baselines))


def terminal_table(results: Sequence[Result]) -> Table:
    """The headline scores for a terminal."""
    from rich import box
    from rich.table import Table

    rows = headline_rows(results)
    names = baseline_names(rows)
    table = Table(
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        collapse_padding=True,
        caption=published_note(results),
        caption_justify="left",
    )
    table.add_column("benchmark", style="bold")
    table.add_column("score")
    table.add_column("this run", justify="right", style="bold")
    for name in names:
        table.add_column(name, justify="right")
    table.add_column("published", justify="right", style="dim")
    table.add_column("asked", justify="right", style="dim")
    previous = None
    for row in rows:
        first = row.task != previous
        if first and previous is not None:
            table.add_section()
        table.add_row(
            title(row.task) if first else "",
            row.metric,
            number(row.value),
            *(number(row.baselines.get(name)) for name in names),
            number(row.published),
            str(row.count) if first and row.count is not None else "",
        )
        previous = row.task
    return table
