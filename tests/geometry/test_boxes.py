"""Laws of axis-aligned boxes, and the reference's borderline IoUs."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from llava.geometry.boxes import bounds, boxes_from_points, contains, corners, edges, iou, rotate_quarter, volume

coordinates = st.integers(-400, 400).map(lambda v: v / 64)  # exact in binary, so that laws hold exactly
extents = st.integers(1, 300).map(lambda v: v / 64)


@st.composite
def boxes(draw: st.DrawFn, most: int = 4) -> np.ndarray:
    n = draw(st.integers(1, most))
    centres, sizes = draw(arrays(float, (n, 3), elements=coordinates)), draw(arrays(float, (n, 3), elements=extents))
    return np.concatenate([centres, sizes], axis=1)


@given(first=boxes(), second=boxes())
def test_iou_is_symmetric_and_between_zero_and_one(first: np.ndarray, second: np.ndarray) -> None:
    overlap = iou(first, second)
    assert overlap.shape == (len(first), len(second))
    np.testing.assert_array_equal(overlap, iou(second, first).T)
    assert (overlap >= 0).all() and (overlap <= 1).all()


@given(some=boxes())
def test_a_box_matches_itself(some: np.ndarray) -> None:
    # 1e-8 in the denominator takes a little off, most from a tiny box
    np.testing.assert_allclose(np.diag(iou(some, some)), 1 - 1e-8 / volume(some), atol=1e-5)


@given(first=boxes(), second=boxes(), shift=arrays(float, 3, elements=coordinates), quarters=st.integers(-5, 5))
def test_iou_does_not_depend_on_the_world_frame(first, second, shift, quarters) -> None:
    def move(values: np.ndarray) -> np.ndarray:
        turned = rotate_quarter(values, quarters)
        turned[:, :3] += shift
        return turned

    np.testing.assert_allclose(iou(move(first), move(second)), iou(first, second), atol=1e-9)


@given(some=boxes(), quarters=st.integers(-5, 5))
def test_four_quarters_are_a_whole_turn_and_points_turn_with_their_box(some: np.ndarray, quarters: int) -> None:
    turned = rotate_quarter(some, quarters)
    np.testing.assert_array_equal(rotate_quarter(turned, 4 - quarters), some)
    np.testing.assert_array_equal(volume(turned), volume(some))
    inside = contains(turned, rotate_quarter(corners(some), quarters))
    assert inside[np.arange(len(some)), np.arange(len(some))].all()


def test_a_quarter_turn_goes_from_x_to_y() -> None:
    assert rotate_quarter(np.array([1.0, 0, 5]), 1).tolist() == [0, 1, 5]
    assert rotate_quarter(np.array([1.0, 0, 5, 2, 3, 4]), 1).tolist() == [0, 1, 5, 3, 2, 4]
    with pytest.raises(ValueError, match=r"\(2, 4\)"):
        rotate_quarter(np.zeros((2, 4)), 1)


@given(points=arrays(float, st.tuples(st.integers(0, 30), st.just(3)), elements=coordinates), data=st.data())
def test_boxes_from_points_hold_their_points_tightly(points: np.ndarray, data: st.DataObject) -> None:
    ids = data.draw(arrays(np.int64, len(points), elements=st.integers(0, 3)))
    found, made = boxes_from_points(points, ids)
    assert found.tolist() == sorted(set(ids.tolist()))
    for one, box in zip(found, made, strict=True):
        own = points[ids == one]
        low, high = bounds(box)
        np.testing.assert_array_equal(own.min(axis=0), low)
        np.testing.assert_array_equal(own.max(axis=0), high)
        assert contains(box[None], own).all()


def test_corners_span_the_box() -> None:
    box = np.array([1.0, 2, 3, 2, 4, 6])
    eight = corners(box)
    assert eight.shape == (8, 3)
    assert len({tuple(corner) for corner in eight}) == 8
    assert eight.min(axis=0).tolist() == [0, 0, 0] and eight.max(axis=0).tolist() == [2, 4, 6]


@given(st.lists(st.floats(-5, 5), min_size=3, max_size=3), st.lists(st.floats(0.25, 4), min_size=3, max_size=3))
def test_a_box_has_four_edges_along_each_axis(centre: list[float], sides: list[float]) -> None:
    box = np.array([[*centre, *sides]], np.float32)
    found = edges(box)
    assert found.shape == (1, 12, 2, 3)
    found = found[0]
    along = np.abs(found[:, 1] - found[:, 0])
    assert ((along > 0.1).sum(axis=1) == 1).all()
    assert np.allclose(along.sum(axis=0), 4 * box[0, 3:], atol=1e-4)
    low, high = bounds(box[0])
    assert np.allclose(found.reshape(-1, 3).min(axis=0), low) and np.allclose(found.reshape(-1, 3).max(axis=0), high)
    assert len(np.unique(found.mean(axis=1), axis=0)) == 12
