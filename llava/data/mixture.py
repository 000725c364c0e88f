"""Which questions are asked together, and in which order: the plan of a whole training run.

The plan is made once from the seed. It is a list, so that a run that was killed finds its place again by
counting, and two runs with one seed see the same packs whatever their number of workers.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from llava.types import Sample


@dataclass(frozen=True)
class Pack:
    """One scene and the questions that are asked about it in one forward pass."""

    scene: str
    samples: tuple[int, ...]  # indices into the list of samples; none: nothing is learnt from it
    turn: int = 0  # quarter turns of the world about z, an augmentation


def epoch_packs(samples: Sequence[Sample], questions: int, rng: np.random.Generator, turn: bool) -> list[Pack]:
    """Every sample once, tasks mixed: a scene's samples are shuffled and cut into packs of at most `questions`.

    A scene's packs are of one size, give or take a question, for a last pack of one or two would weigh these few as
    much as a full one weighs all of its own.
    """
    by_scene: dict[str, list[int]] = {}
    for index, sample in enumerate(samples):
        by_scene.setdefault(sample.scene, []).append(index)
    packs = []
    for scene, indices in by_scene.items():
        order = rng.permutation(indices)
        for chosen in np.array_split(order, -(-len(order) // questions)):
            packs.append(Pack(scene, tuple(chosen.tolist()), int(rng.integers(4)) if turn else 0))
    return [packs[i] for i in rng.permutation(len(packs))]


def spread_scenes(packs: Sequence[Pack], per_step: int, begun: Sequence[Pack] = ()) -> list[Pack]:
    """The packs in an order where a step has no scene twice as long as there are others to take.

    A pack whose scene the step has already waits for the next one.

    Args:
        per_step: packs of an optimizer step.
        begun: the packs before these, whose last step may not be full.
    """
    placed, coming = list(begun), deque(packs)
    while coming:
        taken = len(placed) % per_step
        step, passed = placed[len(placed) - taken :], deque()
        while coming and len(step) < per_step:
            pack = coming.popleft()
            (passed if any(pack.scene == other.scene for other in step) else step).append(pack)
        while passed and len(step) < per_step:
            step.append(passed.popleft())
        placed.extend(step[taken:])
        coming.extendleft(reversed(passed))
    return placed[len(begun) :]


def filled(plan: Sequence[Pack], at_once: int) -> list[Pack]:
    """The plan, and behind it packs that ask nothing, up to a multiple of `at_once`.

    Several processes must read equally many packs: accelerate would give the last ones the first packs again, whose
    questions would then count twice.
    """
    return [*plan, *[Pack(plan[-1].scene, ())] * (-len(plan) % at_once)]


def training_plan(
    samples: Sequence[Sample],
    questions: int,
    packs: int | None,
    seed: int,
    turn: bool = False,
    per_step: int = 1,
) -> list[Pack]:
    """The first `packs` packs of as many epochs as that takes; None: one epoch, every question once.

    Args:
        questions: at most, a pack.
        per_step: packs of an optimizer step, which are of different scenes where there are enough.

    Raises ValueError when there is nothing to train on.
    """
    if not samples:
        raise ValueError("no training samples: the chosen tasks are empty in this data folder; see `llava doctor`")
    rng = np.random.default_rng(seed)
    plan = spread_scenes(epoch_packs(samples, questions, rng, turn), per_step)
    while packs is not None and len(plan) < packs:
        plan.extend(spread_scenes(epoch_packs(samples, questions, rng, turn), per_step, plan))
    return plan[:packs]
