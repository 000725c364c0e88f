"""The quickstart phase by phase: today's code against that of an earlier commit, on one machine in one run.

    python benchmarks/quickstart.py --before bb3cb24

Each code makes the rooms, prepares them, trains on some packs from its own base, and answers the held-out rooms with
what it trained; then the whole training is reckoned from the pace. Writes benchmarks/quickstart.json and .md.
"""

from __future__ import annotations

import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from arms import run_llava, trained_seconds
from measure import check_counts, table, write

from llava.complaints import run_script
from llava.recipes import get_recipe

HERE = Path(__file__).resolve().parents[1]
RECIPE = get_recipe("rooms")


@contextmanager
def checked_out(commit: str) -> Iterator[Path]:
    """A folder with the code of a commit of this repository."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "code"
        made = subprocess.run(
            ["git", "-C", HERE, "worktree", "add", "--detach", folder, commit], capture_output=True, text=True
        )
        if made.returncode:
            raise ValueError(f"commit {commit!r} cannot be had here: {made.stderr.strip().splitlines()[-1]}")
        try:
            yield folder
        finally:
            subprocess.run(["git", "-C", HERE, "worktree", "remove", "--force", folder], check=True)


def call(code: Path, work: Path, *arguments: str | Path) -> float:
    """Seconds that one command of that code takes, its start included; its words go to a log in `work`."""
    start = time.perf_counter()
    run_llava(arguments, work / "log.txt", {"PYTHONPATH": str(code), "LLAVA_CACHE": str(work / "cache")}, work)
    return time.perf_counter() - start


def phases(code: Path, scenes: int, packs: int) -> dict[str, float]:
    """Seconds of each phase, in a fresh folder with a fresh cache."""
    with tempfile.TemporaryDirectory() as scratch:
        work = Path(scratch)
        data, out = work / "data", work / "checkpoint"
        taken = {
            "rooms": call(code, work, "rooms", "make", data, "--scenes", str(scenes)),
            "preparation": call(code, work, "prepare", data),
        }
        trained = call(code, work, "train", RECIPE.name, "--data", data, "--out", out, "--train.packs", str(packs))
        stepping = trained_seconds(out)
        taken["before the first step"] = trained - stepping
        taken["a pack"] = stepping / packs
        taken["evaluation"] = call(code, work, "eval", out, "--data", data)
    return taken


def main(before: str, scenes: int = RECIPE.rooms, packs: int = 600) -> None:
    """Time the phases with the code of two commits.

    Args:
        before: commit to compare with.
        scenes: rooms to make.
        packs: to train on; fewer than there are rooms flatter whoever looks at every room first.
    """
    check_counts(scenes=scenes, packs=packs)
    with checked_out(before) as code:
        taken = {before: phases(code, scenes, packs), "now": phases(HERE, scenes, packs)}
    for found in taken.values():
        found["training"] = found["before the first step"] + RECIPE.train.packs * found["a pack"]
        found["together"] = sum(found[name] for name in ("rooms", "preparation", "training", "evaluation"))
    named = {
        f"{scenes} rooms made": "rooms",
        "prepared": "preparation",
        "training, before its first step": "before the first step",
        "training, a pack": "a pack",
        f"training on {RECIPE.train.packs} packs, reckoned": "training",
        "evaluation, five benchmarks": "evaluation",
        "together": "together",
    }
    rows = []
    for title, name in named.items():
        slow, fast = taken[before][name], taken["now"][name]
        rows.append([title, f"{slow:.4g} s", f"{fast:.4g} s", f"{slow / fast:.2f}"])
    text = (
        f"One run each, one after the other. Trained on {packs} packs; the time of {RECIPE.train.packs}, as many as "
        "the recipe has today, is what came before the first step and so many times a pack's own. Without set-up, "
        f"the blind twin and the report.\n\n{table(['phase', before, 'now', 'ratio'], rows)}"
    )
    write(Path(__file__), "The quickstart, phase by phase", text, {"scenes": scenes, "packs": packs, "seconds": taken})


if __name__ == "__main__":
    run_script(main, __doc__)
