"""What the choice of frames is worth: uniform against maximum coverage at 4, 8 and 16 frames, one trained model.

    python benchmarks/sampling.py --checkpoint checkpoints/rooms --data data-rooms-560

Writes benchmarks/sampling.json and prints the table of benchmarks/sampling.md.
"""

from __future__ import annotations

import json
from pathlib import Path

from arms import Arm, evaluate, table
from measure import conditions

from llava.complaints import run_script


def main(
    checkpoint: Path,
    data: Path,
    frames: tuple[int, ...] = (4, 8, 16),
    strategies: tuple[str, ...] = ("uniform", "mc"),
    jobs: int = 2,
    out: Path = Path("checkpoints/sampling"),
) -> None:
    """Score the checkpoint under every choice of frames."""
    arms = [
        Arm(f"{strategy}, {count} frames", evaluate=("--strategy", strategy, "--frames", str(count)))
        for count in frames
        for strategy in strategies
    ]
    found = evaluate(arms, checkpoint, data, out, jobs)
    stated = {"conditions": conditions(), "checkpoint": str(checkpoint), "scores": found}
    Path(__file__).with_suffix(".json").write_text(json.dumps(stated, indent=1) + "\n")
    print(", ".join(stated["conditions"].values()), table(found), sep="\n\n")


if __name__ == "__main__":
    run_script(main, __doc__)
