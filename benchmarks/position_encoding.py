"""Does the position encoding help, and which? The same budget with sin3d, mlp, none, and blind.

    python benchmarks/position_encoding.py --data data-rooms-560

Writes benchmarks/position_encoding.json and prints the table of benchmarks/position_encoding.md.
"""

from __future__ import annotations

import json
from pathlib import Path

from arms import Arm, table, train_and_evaluate
from measure import conditions

from llava.complaints import run_script

ARMS = (
    Arm("sin3d"),
    Arm("mlp", ("--positions.kind", "mlp")),
    Arm("none", ("--positions.kind", "none")),
    Arm("blind", ("--data.blind",)),
)


def main(
    data: Path,
    recipe: str = "rooms",
    packs: int = 1500,
    seeds: tuple[int, ...] = (0, 1),
    jobs: int = 2,
    out: Path = Path("checkpoints/position_encoding"),
) -> None:
    """Train and score every arm with every seed."""
    budget = ("--train.packs", str(packs))
    arms = [Arm(arm.name, (*budget, *arm.train)) for arm in ARMS]
    found = train_and_evaluate(arms, seeds, recipe, data, out, jobs)
    stated = {"conditions": conditions(), "packs": packs, "seeds": seeds, "scores": found}
    Path(__file__).with_suffix(".json").write_text(json.dumps(stated, indent=1) + "\n")
    print(", ".join(stated["conditions"].values()), table(found), sep="\n\n")


if __name__ == "__main__":
    run_script(main, __doc__)
