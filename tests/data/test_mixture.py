"""The plan of a training run: every question once an epoch, the same plan for the same seed."""

from __future__ import annotations

from collections import Counter
from itertools import islice

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llava.data.mixture import epoch_packs, filled, spread_scenes, training_plan
from llava.types import Sample


def make_samples(counts: dict[str, int]) -> list[Sample]:
    """Samples of scenes with that many questions each, of two tasks in turn."""
    scenes = [scene for scene, count in counts.items() for _ in range(count)]
    return [Sample(i, ("scanqa", "sqa3d")[i % 2], scene, "?", "!") for i, scene in enumerate(scenes)]


scene_counts = st.dictionaries(st.sampled_from("abcdef"), st.integers(1, 9), min_size=1)


@given(scene_counts, st.integers(1, 5), st.integers(0, 3))
def test_every_question_once_an_epoch(counts: dict[str, int], questions: int, seed: int) -> None:
    samples = make_samples(counts)
    packs = epoch_packs(samples, questions, np.random.default_rng(seed), turn=False)
    assert sorted(i for pack in packs for i in pack.samples) == list(range(len(samples)))
    assert all(samples[i].scene == pack.scene for pack in packs for i in pack.samples)
    assert all(1 <= len(pack.samples) <= questions for pack in packs)
    assert len(packs) == sum(-(-count // questions) for count in counts.values())
    for scene in counts:
        sizes = [len(pack.samples) for pack in packs if pack.scene == scene]
        assert max(sizes) - min(sizes) <= 1


@given(scene_counts, st.integers(1, 5))
def test_a_plan_without_a_length_is_one_epoch(counts: dict[str, int], questions: int) -> None:
    samples = make_samples(counts)
    plan = training_plan(samples, questions, None, seed=0)
    assert sorted(i for pack in plan for i in pack.samples) == list(range(len(samples)))


def test_a_plan_goes_through_whole_epochs() -> None:
    samples = make_samples({"a": 5, "b": 4})
    plan = training_plan(samples, 2, 13, seed=3)  # epochs of five packs
    assert len(plan) == 13
    parts = iter(plan)
    for _ in range(2):
        assert sorted(i for pack in islice(parts, 5) for i in pack.samples) == list(range(9))
    assert max(Counter(i for pack in parts for i in pack.samples).values()) == 1
    assert plan[:5] != plan[5:10], "epochs are shuffled anew"


def test_a_shorter_plan_is_the_beginning_of_a_longer_one() -> None:
    samples = make_samples({"a": 5, "b": 4})
    assert training_plan(samples, 2, 12, seed=3, turn=True)[:7] == training_plan(samples, 2, 7, seed=3, turn=True)


def test_the_seed_decides() -> None:
    samples = make_samples({"a": 5, "b": 4})
    assert training_plan(samples, 2, 10, seed=1) == training_plan(samples, 2, 10, seed=1)
    assert training_plan(samples, 2, 10, seed=1) != training_plan(samples, 2, 10, seed=2)


def test_tasks_are_mixed_in_a_pack() -> None:
    samples = make_samples({"a": 40})
    packs = training_plan(samples, 8, 5, seed=0)
    assert all({samples[i].task for i in pack.samples} == {"scanqa", "sqa3d"} for pack in packs)


def test_turns_are_quarters_and_only_where_asked_for() -> None:
    samples = make_samples({"a": 64})
    assert {pack.turn for pack in training_plan(samples, 1, 64, seed=0, turn=True)} == {0, 1, 2, 3}
    assert {pack.turn for pack in training_plan(samples, 1, 64, seed=0)} == {0}


@given(scene_counts, st.integers(1, 3), st.integers(1, 5), st.integers(0, 12))
def test_a_step_has_as_many_scenes_as_there_are(
    counts: dict[str, int], questions: int, per_step: int, before: int
) -> None:
    """Whatever was placed before: a scene comes again in a step only where none was left that had not come."""
    samples = make_samples(counts)
    packs = epoch_packs(samples, questions, np.random.default_rng(0), turn=False)
    begun = (packs * 12)[:before]
    spread = spread_scenes(packs, per_step, begun)
    assert Counter(spread) == Counter(packs)
    scenes = [pack.scene for pack in [*begun, *spread]]
    for at in range(before, len(scenes)):
        step = scenes[at - at % per_step : at]
        if scenes[at] in step:
            assert set(scenes[at:]) <= set(step)


def test_one_pack_a_step_keeps_the_order() -> None:
    packs = epoch_packs(make_samples({"a": 9, "b": 9}), 2, np.random.default_rng(0), turn=False)
    assert spread_scenes(packs, 1) == packs


def test_steps_are_kept_over_the_end_of_an_epoch() -> None:
    samples = make_samples({"a": 3, "b": 2})
    plan = training_plan(samples, 1, 40, seed=0, per_step=2)
    assert [sorted(i for pack in plan[at : at + 5] for i in pack.samples) for at in range(0, 40, 5)] == [
        [*range(5)]
    ] * 8
    alike = sum(a.scene == b.scene for a, b in zip(plan[::2], plan[1::2], strict=True))
    shuffled = training_plan(samples, 1, 40, seed=0)
    assert alike < sum(a.scene == b.scene for a, b in zip(shuffled[::2], shuffled[1::2], strict=True))


@pytest.mark.parametrize(("at_once", "length"), [(1, 5), (2, 6), (5, 5), (8, 8)])
def test_a_plan_is_filled_with_packs_that_ask_nothing(at_once: int, length: int) -> None:
    plan = training_plan(make_samples({"a": 5, "b": 4}), 2, None, seed=0)
    even = filled(plan, at_once)
    assert len(even) == length and even[:5] == plan
    assert {(pack.scene, pack.samples) for pack in even[5:]} <= {(plan[-1].scene, ())}


def test_nothing_to_train_on() -> None:
    with pytest.raises(ValueError, match="no training samples"):
        training_plan([], 4, 10, seed=0)
