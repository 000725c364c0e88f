"""How likely an attribute is before anybody has looked, so that questions can be drawn against the odds.

A question whose answer the words give away teaches guessing. Each candidate question gets a weight of one over
the odds of its answer given its words; what is then asked is as good as uniform over the answers.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from llava.rooms.furniture import CATALOGUE, COLORS, NATURAL_SHARE
from llava.rooms.kinds import ROOM_KINDS


def color_odds(label: str, color: str) -> float:
    """The share of things of this class that have this colour, 0..1."""
    kind = CATALOGUE[label]
    natural = (NATURAL_SHARE if not kind.only else 1.0) if kind.natural else 0.0
    odds = (1.0 - natural) / len(COLORS)
    return odds + natural * kind.natural.count(color) / len(kind.natural) if natural else odds


def material_odds(label: str, material: str) -> float:
    """The share of things of this class that are of this material, 0..1."""
    materials = CATALOGUE[label].materials
    return materials.count(material) / len(materials)


@cache
def label_odds(label: str) -> float:
    """Roughly the share of rooms that hold this class, 0..1."""
    shares = [
        1.0
        if label in kind.core
        else max(0.4 * (label in kind.once), 2.0 / len(kind.several) * (label in kind.several))
        for kind in ROOM_KINDS.values()
    ]
    return max(sum(shares) / len(shares), 0.02)


def draw(weighted: list[tuple[object, float]], rng: np.random.Generator) -> int:
    """Index of one entry, drawn by its weight.

    Raises:
        ValueError: if there is nothing to draw from or a weight is not positive.
    """
    weights = np.array([w for _, w in weighted], float)
    if not len(weights) or not (weights > 0).all():
        raise ValueError(f"expected positive weights, found {weights.tolist()}")
    return int(rng.choice(len(weights), p=weights / weights.sum()))
