"""IoU accuracy and set F1, against their definitions."""

from __future__ import annotations

import itertools

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from llava.geometry.boxes import iou
from llava.metrics.grounding import best_object, close_objects, likely_objects, set_f1


def test_best_object_ignores_the_zero_target() -> None:
    assert best_object([0.1, 0.3, 0.9]) == 1
    assert best_object([0.9]) is None


def test_two_sure_targets() -> None:
    scores = [0.5, 0.49, -0.2, 0.0]
    assert likely_objects(scores) == [0]  # the first one alone holds 0.4 of the probability
    assert close_objects(scores) == [0, 1]
    assert close_objects([0.5, 0.2, 0.6]) == likely_objects([0.5, 0.2, 0.6]) == []
    assert close_objects([0.3]) == []


def test_mass_that_is_never_reached_takes_all() -> None:
    assert likely_objects([0.1, 0.2, 0.2 - 1e-9], mass=0.99) == [1, 0]


def test_f1_of_empty_sets() -> None:
    box = [[0.0, 0, 0, 1, 1, 1]]
    assert set_f1([], [], (0.25, 0.5)) == [1, 1]
    assert set_f1(box, [], (0.25,)) == [0] == set_f1([], box, (0.25,))


coordinate = st.floats(-1, 1)
box = st.tuples(coordinate, coordinate, coordinate, *[st.floats(0.5, 2)] * 3)


@settings(deadline=None, max_examples=50)
@given(st.lists(box, min_size=1, max_size=3), st.lists(box, min_size=1, max_size=3))
def test_pairs_have_the_largest_total_iou(predicted: list, gold: list) -> None:
    """A search over all pairings: F1 counts a pairing that no other beats."""
    overlaps = iou(np.array(predicted), np.array(gold))
    if len(predicted) > len(gold):
        overlaps = overlaps.T
    n, m = overlaps.shape
    pairings = [overlaps[range(n), order] for order in itertools.permutations(range(m), n)]
    best = max(p.sum() for p in pairings)
    counts = {2 * int((p >= 0.25).sum()) / (n + m) for p in pairings if p.sum() >= best - 1e-12}
    assert set_f1(predicted, gold, (0.25,))[0] in counts
