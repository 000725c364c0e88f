"""One page over all speed benchmarks: what was asked, what was measured, a picture of the ratios.

    python benchmarks/summary.py

Reads the JSON files that the other scripts have written beside it; writes benchmarks/README.md and summary.png.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from measure import table

from llava.complaints import run_script

OTHERS = {
    "asking": "a second question about an open scan against the first",
    "quickstart": "its phases, against the code of an earlier commit",
    "packs_learning": "score against wall-clock for 1, 4 and 16 questions a scene",
    "position_encoding": "`sin3d`, `mlp`, `none` and blind, at one budget",
    "sampling": "uniform frames against maximum coverage, at 4, 8 and 16 frames",
    "proposals": "own object proposals: recall, and what they are worth to ScanRefer",
}
INTRODUCTION = """\
# What is fast, and how it was measured

Each script runs with one command, measures a *plain baseline* in the same run (the straightforward way, kept in
[baselines/](baselines)), and writes its page and its numbers beside itself, with day, commit and machine. Tests hold
that both ways give the same result. What was tried and did not help is in [LOG.md](LOG.md).
"""


@dataclass(frozen=True)
class Claim:
    """A ratio to a plain baseline that is aimed at."""

    benchmark: str  # script, and name of its JSON file
    what: str
    aim: float
    ratio: Callable[[Mapping[str, Any]], float]


def _fastest(ways: Mapping[str, Mapping[str, Any]], start: str) -> float:
    return max(way["ratio"] for name, way in ways.items() if name.startswith(start))


def _evaluated(model: str, part: str) -> Callable[[Mapping[str, Any]], float]:
    def ratio(found: Mapping[str, Any]) -> float:
        taken = next(of for name, of in found["compared"].items() if name.startswith(model))[part]
        return taken["one by one"] / taken["together"]

    return ratio


CLAIMS = (
    Claim("coverage_speed", "choosing frames, one thread", 60, lambda found: found["ways"]["one thread"]["ratio"]),
    Claim("coverage_speed", "choosing frames, all cores", 60, lambda found: list(found["ways"].values())[-1]["ratio"]),
    Claim("loading", "loading a scene, cold", 3, lambda found: _fastest(found["loading"]["gt"]["ways"], "cold")),
    Claim("loading", "loading a scene, warm", 60, lambda found: _fastest(found["loading"]["gt"]["ways"], "warm")),
    Claim("training", "training, 16 questions a scene", 10, lambda found: found["ratio"]),
    Claim("training", "the same, checkpointing", 10, lambda found: found["ratio_checkpointing"]),
    Claim("evaluation", "answering, rooms, 8 frames", 10, _evaluated("rooms, 8", "with reading")),
    Claim("evaluation", "the same without reading scenes", 10, _evaluated("rooms, 8", "model")),
    Claim("evaluation", "answering, rooms, 16 frames", 10, _evaluated("rooms, 16", "with reading")),
    Claim("evaluation", "answering, tiny model, 32 frames", 10, _evaluated("tiny", "with reading")),
    Claim("evaluation", "the tiny model without reading", 10, _evaluated("tiny", "model")),
)


def draw(ratios: Mapping[str, tuple[float, float]], path: Path) -> None:
    """A bar for each ratio, on a logarithmic scale, with a mark at its aim."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 0.5 * len(ratios) + 1.2), layout="constrained")
    axes = figure.subplots()
    names = list(ratios)[::-1]
    for at, name in enumerate(names):
        ratio, aim = ratios[name]
        axes.barh(at, ratio, color="#3b7dd8" if ratio >= aim else "#d9822b", height=0.62)
        axes.plot([aim, aim], [at - 0.42, at + 0.42], color="black", linewidth=2)
        axes.text(1.08 * max(ratio, aim), at, f"{ratio:.3g}x", va="center")
    axes.set_yticks(range(len(names)), names)
    axes.set(xscale="log", xlabel="times as fast as the plain way, in the same run (black mark: the aim)")
    axes.set_xlim(1, 2.2 * max(max(pair) for pair in ratios.values()))
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=120)


def main(folder: Path = Path(__file__).parent) -> None:
    """Write the page and the picture.

    Args:
        folder: of the JSON files; the page is written there.
    """
    found = {path.stem: json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))}
    rows, ratios = [], {}
    for claim in CLAIMS:
        if claim.benchmark not in found:
            continue
        ratio, stated = claim.ratio(found[claim.benchmark]), found[claim.benchmark]["conditions"]
        ratios[claim.what] = ratio, claim.aim
        link = f"[{claim.benchmark}]({claim.benchmark}.md)"
        rows.append((claim.what, f"{ratio:.3g}x", f"{claim.aim:g}x", link, stated["commit"], stated["date"]))
    if not rows:
        raise ValueError(f"{folder} holds no results yet: run the benchmarks first, e.g. python benchmarks/loading.py")
    draw(ratios, folder / "summary.png")
    machines = sorted({found[claim.benchmark]["conditions"]["machine"] for claim in CLAIMS if claim.benchmark in found})
    others = [f"- [{name}]({name}.md): {what}" for name, what in OTHERS.items() if (folder / f"{name}.md").is_file()]
    page = [
        INTRODUCTION,
        "![ratios to the plain way](summary.png)\n",
        table(("", "measured", "aim", "page", "commit", "date"), rows),
        f"\nMachine: {'; '.join(machines)}. This page is written by `python benchmarks/summary.py`.\n",
        "What else was measured:\n",
        *others,
    ]
    (folder / "README.md").write_text("\n".join(page).rstrip() + "\n")
    print(folder / "README.md")


if __name__ == "__main__":
    run_script(main, __doc__)
