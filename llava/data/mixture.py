"""Which questions are asked together, and in which order: the plan of a whole training run.

The plan is made once from the seed. It is a list, so that a run that was killed finds its place again by
counting, and two runs with one seed see the same packs whatever their number of workers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from llava.types import Sample


@dataclass(frozen=True)
class Pack:
    """One scene and the questions that are asked about it in one forward pass."""

    scene: str
    samples: tuple[int, ...]  # indices into the list of samples
    turn: int = 0  # quarter turns of the world about z, an augmentation


def epoch_packs(samples: Sequence[Sample], questions: int, rng: np.random.Generator, turn: bool) -> list[Pack]:
    """Every sample once, tasks mixed: a scene's samples are shuffled and cut into packs of `questions`."""
    by_scene: dict[str, list[int]] = {}
    for index, sample in enumerate(samples):
        by_scene.setdefault(sample.scene, []).append(index)
    packs = []
    for scene, indices in by_scene.items():
        order = rng.permutation(indices)
        for start in range(0, len(order), questions):
            chosen = tuple(int(i) for i in order[start : start + questions])
            packs.append(Pack(scene, chosen, int(rng.integers(4)) if turn else 0))
    return [packs[i] for i in rng.permutation(len(packs))]


def training_plan(
    samples: Sequence[Sample], questions: int, packs: int | None, seed: int, turn: bool = False
) -> list[Pack]:
    """The first `packs` packs of as many epochs as that takes; None: one epoch, every question once.

    Raises ValueError when there is nothing to train on.
    """
    if not samples:
        raise ValueError("no training samples: the chosen tasks are empty in this data folder; see `llava doctor`")
    rng = np.random.default_rng(seed)
    plan = epoch_packs(samples, questions, rng, turn)
    while packs is not None and len(plan) < packs:
        plan.extend(epoch_packs(samples, questions, rng, turn))
    return plan[:packs]
