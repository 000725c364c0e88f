"""The report as one HTML page that stands alone, and as Markdown."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from llava.report.examples import Example
from llava.report.gather import Result, Run, statement
from llava.report.tables import KINDS, Row, baseline_names, breakdown, headline_rows, number, published_note, title

ASKS = {
    "scanrefer": "Find the one object that a description means.",
    "multi3drefer": "Find all objects that a description means: none, one or many.",
    "scan2cap": "Describe the object at a given place.",
    "scanqa": "Answer a question about the scene.",
    "sqa3d": "Answer from where someone stands in the scene.",
}


def data_url(png: bytes) -> str:
    """PNG bytes as an address that holds them."""
    return "data:image/png;base64," + base64.b64encode(png).decode()


def render_html(
    run: Run,
    examples: dict[str, list[tuple[Example, bytes | None]]],
    charts: dict[str, bytes],
    overview: tuple[str, bytes] | None,
    coverage_text: str,
    made: datetime,
) -> str:
    """The page. `examples[task]` are answers with their pictures, `charts` may hold "loss" and "coverage",
    `overview` is a scene's name and the picture of its chosen frames."""
    from jinja2 import Environment, StrictUndefined

    rows = headline_rows(run.results)
    baselines = baseline_names(rows)
    template = Environment(autoescape=True, undefined=StrictUndefined).from_string(
        (Path(__file__).parent / "page.html").read_text(encoding="utf-8")
    )
    return template.render(
        run=run,
        lead=lead(run),
        statement=statement(run.results),
        cards=[_card(result, rows) for result in run.results],
        baselines=baselines,
        rows=[_row(row, first, baselines) for row, first in _with_first(rows)],
        published_note=published_note(run.results),
        published_comparable=(run.recipe or {}).get("rooms", 0) == 0 and run.recipe is not None,
        breakdowns=[_breakdown(result) for result in run.results],
        overview=_overview(run, *overview) if overview else None,
        loss_chart=data_url(charts["loss"]) if "loss" in charts else None,
        training=_training(run),
        coverage_chart=data_url(charts["coverage"]) if "coverage" in charts else None,
        coverage_text=coverage_text,
        groups=[_group(task, examples[task]) for task in examples],
        recipe=json.dumps(run.recipe, indent=1) if run.recipe else None,
        made=made.strftime("%-d %B %Y, %H:%M"),
    )


def lead(run: Run) -> str:
    """One sentence that says what was measured."""
    scenes = {line["scene"] for result in run.results for line in result.answers if line.get("scene")}
    questions = sum(int(result.conditions.get("count", len(result.answers))) for result in run.results)
    recipe = f"Recipe {run.recipe['name']}: " if run.recipe else ""
    places = f" about {len(scenes)} scene{'s' * (len(scenes) != 1)}" if scenes else ""
    return f"{recipe}{questions:,} questions{places}, {len(run.results)} benchmark{'s' * (len(run.results) != 1)}."


def _card(result: Result, rows: Sequence[Row]) -> dict[str, Any]:
    """A benchmark's first headline score as a bar with the published number and the baselines marked."""
    own = [row for row in rows if row.task == result.task.name]
    if not own:
        return {"title": title(result.task.name), "asks": ASKS.get(result.task.name, ""), "value": "–"} | {
            "metric": "no headline score",
            "width": 0,
            "marks": [],
        }
    row = own[0]
    marks = [("published", "published", row.published)] if row.published is not None else []
    marks += [(name, "base", value) for name, value in row.baselines.items()]
    full = max(100.0, row.value, *(value for *_, value in marks), 0.0)
    return {
        "title": title(row.task),
        "asks": ASKS.get(row.task, ""),
        "value": number(row.value),
        "metric": row.metric,
        "width": round(100 * max(row.value, 0.0) / full, 1),
        "marks": [
            {"name": name, "kind": kind, "value": number(value), "left": round(100 * value / full, 1)}
            for name, kind, value in marks
        ],
    }


def _with_first(rows: Sequence[Row]) -> list[tuple[Row, bool]]:
    """Each row, and whether it is the first of its task."""
    return [(row, index == 0 or rows[index - 1].task != row.task) for index, row in enumerate(rows)]


def _row(row: Row, first: bool, baselines: Sequence[str]) -> dict[str, Any]:
    return {
        "title": title(row.task) if first else "",
        "metric": row.metric,
        "value": number(row.value),
        "baselines": [number(row.baselines.get(name)) for name in baselines],
        "published": number(row.published),
        "count": f"{row.count:,}" if first and row.count is not None else "",
    }


def _breakdown(result: Result) -> dict[str, Any]:
    table = breakdown(result)
    rows = [(name, [number(value) for value in values]) for name, values in table.rows]
    return {"title": title(result.task.name), "columns": table.columns, "rows": rows}


def _overview(run: Run, scene: str, picture: bytes) -> dict[str, str]:
    conditions = run.results[0].conditions
    text = (
        f"Scene {scene}: the frames chosen by “{conditions.get('strategy', 'uniform')}”, and from above the area that "
        "they cover. The model reads the patches of these frames, each with its place in the room."
    )
    return {"scene": scene, "picture": data_url(picture), "text": text}


def _training(run: Run) -> str:
    if not run.log:
        return ""
    last = run.log[-1]
    return f"{int(last['step']):,} steps; pale lines as logged, strong ones smoothed."


def _group(task: str, examples: Sequence[tuple[Example, bytes | None]]) -> dict[str, Any]:
    measures = {"caption": "ROUGE-L", "boxes": "IoU with the true boxes", "answer": ""}
    kind = answer_kind(examples[0][0])
    columns = []
    for good, name in ((True, "good"), (False, "bad")):
        shown = [_example(example, picture) for example, picture in examples if example.good is good]
        columns.append({"title": name.capitalize(), "kind": name, "examples": shown})
    return {"title": title(task), "asks": ASKS.get(task, ""), "measure": measures[kind], "columns": columns}


def answer_kind(example: Example) -> str:
    """ "boxes", "caption" (told by an object given with the question) or "answer"."""
    if example.said is None:
        return "boxes"
    return "caption" if len(example.true_boxes) else "answer"


def _example(example: Example, picture: bytes | None) -> dict[str, Any]:
    kind = answer_kind(example)
    said = example.said
    wanted: Any = example.wanted
    if kind == "boxes":
        said, wanted = _boxes(len(example.predicted_boxes)), _boxes(len(example.true_boxes))
        if len(example.true_boxes) and len(example.predicted_boxes):
            said += f", IoU {example.quality:.2f}"
    return {
        "picture": data_url(picture) if picture else None,
        "scene": example.scene,
        "question": "" if kind == "caption" else example.question,
        "said": said or "(nothing)",
        "wanted": wanted,
        "meta": " · ".join(_facts(example)),
    }


def _facts(example: Example) -> list[str]:
    kind = "" if example.kind == "unknow" else KINDS.get(example.kind, example.kind)
    return [fact for fact in (example.scene, kind, f"question {example.id}") if fact]


def _boxes(count: int) -> str:
    return "no box" if count == 0 else f"{count} box{'es' * (count != 1)}"


def render_markdown(run: Run, examples: dict[str, list[tuple[Example, bytes | None]]]) -> str:
    """The same without pictures."""
    rows = headline_rows(run.results)
    baselines = baseline_names(rows)
    lines = [f"# {run.name}", "", lead(run), ""]
    lines += [f"- {key}: {value}" for key, value in statement(run.results)]
    head = ["benchmark", "score", "this run", *baselines, "published", "questions"]
    lines += ["", _cells(head), _cells(["---", "---", *["---:"] * (len(head) - 2)])]
    for row, first in _with_first(rows):
        cells = _row(row, first, baselines)
        lines.append(
            _cells(
                [cells["title"], row.metric, cells["value"], *cells["baselines"], cells["published"], cells["count"]]
            )
        )
    if run.missing:
        lines += ["", f"Not evaluated: {', '.join(run.missing)}."]
    lines += [
        "",
        f"{published_note(run.results)} All scores times 100.",
    ]
    for task, chosen in examples.items():
        lines += ["", f"## {title(task)}", ""]
        for example, _ in chosen:
            shown = _example(example, None)
            wanted = shown["wanted"] if isinstance(shown["wanted"], str) else " / ".join(shown["wanted"])
            mark = "good" if example.good else "bad"
            lines.append(
                f"- {mark}: {shown['question'] or 'caption'} — said: {shown['said']} — true: {wanted} ({shown['meta']})"
            )
    return "\n".join(lines) + "\n"


def _cells(values: Sequence[str]) -> str:
    return "| " + " | ".join(values) + " |"
