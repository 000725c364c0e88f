"""What a scan that is kept open saves: the first question about it against the same one asked again.

    python benchmarks/asking.py --checkpoint checkpoints/rooms --scene ../shared/real/7scenes

Writes benchmarks/asking.json and .md.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median
from time import perf_counter

import tyro
from measure import table, write

from llava.scan import Scan


@dataclass(frozen=True)
class Times:
    """Seconds."""

    open: float  # weights, frames chosen by what all depth images see
    first: float  # views decoded, encoded and read, and the answer
    again: float  # the answer alone


def timed(checkpoint: Path, scene: Path, frames: int, question: str) -> Times:
    """A scan opened and asked twice."""
    stops = [perf_counter()]
    scan = Scan(checkpoint, scene, frames=frames)
    stops.append(perf_counter())
    said = set()
    for _ in range(2):
        said.add(scan.ask(question))
        stops.append(perf_counter())
    assert len(said) == 1, said
    return Times(*(after - before for before, after in pairwise(stops)))


def main(
    checkpoint: Path,
    scene: Path,
    question: str = "What color is the chair?",
    frames: tuple[int, ...] = (4, 8, 16),
    repeats: int = 3,
) -> None:
    """Measure, each number being the median of so many repeats."""
    timed(checkpoint, scene, frames[0], question)  # libraries are loaded here
    found = {count: [timed(checkpoint, scene, count, question) for _ in range(repeats)] for count in frames}
    rows = []
    for count, runs in found.items():
        opened, first, again = (median(vars(run)[name] for run in runs) for name in ("open", "first", "again"))
        rows.append([count, f"{opened:.2f} s", f"{first:.3f} s", f"{again:.3f} s", f"{first / again:.0f}"])
    text = table(["frames", "to open", "first question", "again", "times faster"], rows)
    numbers = {str(count): [asdict(run) for run in runs] for count, runs in found.items()}
    write(Path(__file__), "Asking a scan that is kept open", text, {"seconds": numbers})


if __name__ == "__main__":
    tyro.cli(main)
