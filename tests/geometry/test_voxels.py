"""Voxel sets, patch means, object masks and greedy coverage: laws, plain twins, and the reference's numbers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from llava.geometry import voxels
from llava.geometry.boxes import contains
from llava.geometry.voxels import (
    UNION_SETS,
    VoxelSums,
    max_coverage,
    object_masks,
    pack_keys,
    patch_coords,
    union,
    unpack_keys,
    voxel_keys,
)

index_arrays = arrays(
    np.int64, st.tuples(st.integers(1, 20), st.just(3)), elements=st.integers(-(2**20) + 1, 2**20 - 1)
)


@given(indices=index_arrays)
def test_keys_unpack_to_what_was_packed(indices: np.ndarray) -> None:
    np.testing.assert_array_equal(unpack_keys(pack_keys(indices)), indices)


@given(
    points=st.sampled_from([1, 50, 100_000]).flatmap(  # metres: the largest do not fit into a box of few cells
        lambda far: arrays(
            np.float32, st.tuples(st.integers(1, 40), st.just(3)), elements=st.floats(-far, far, width=32)
        )
    )
)
def test_voxel_keys_are_the_distinct_rounded_points(points: np.ndarray) -> None:
    expected = {tuple(row) for row in np.rint(points / np.float32(0.1)).astype(int).tolist()}
    keys = voxel_keys(points)
    assert {tuple(row) for row in unpack_keys(keys).tolist()} == expected
    assert np.array_equal(keys, np.unique(keys))
    assert np.array_equal(voxel_keys(np.concatenate([points, points[::-1]])), keys)


def test_voxel_keys_leave_out_what_is_not_valid() -> None:
    points = np.float32([[[0, 0, 0], [1, 1, 1]]])
    assert unpack_keys(voxel_keys(points, 0.1, np.array([[False, True]]))).tolist() == [[10, 10, 10]]
    lost = np.where(np.array([[True, False]])[..., None], np.float32(np.nan), points)
    assert unpack_keys(voxel_keys(lost, 0.1, np.array([[False, True]]))).tolist() == [[10, 10, 10]]
    assert voxel_keys(points, 0.1, np.zeros((1, 2), bool)).shape == voxel_keys(points[:0]).shape == (0,)


@pytest.mark.parametrize("bad", [np.inf, np.nan, 1e9])
def test_points_off_the_map_are_refused(bad: float) -> None:
    with pytest.raises(ValueError, match="metres"):
        voxel_keys(np.float32([[bad, 0, 0]]))


def _coords(seed: int, views: int = 2, side: int = 24) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    steps = np.cumsum(rng.normal(0, 0.08, (views, side, side, 3)), axis=1)
    return (steps + np.cumsum(rng.normal(0, 0.03, steps.shape), axis=2)).astype(np.float32), rng.random(
        (views, side, side)
    ) > 0.3


@given(seed=st.integers(0, 10**6))
@settings(max_examples=25)
def test_patch_means_equal_a_plain_loop(seed: int) -> None:
    coords, valid = _coords(seed)
    valid[0, :6, :6] = False
    coords[0, 0, 0] = np.nan  # an invalid pixel may hold anything
    mean, known = patch_coords(coords, valid, cells=3, cell=7)
    for view, row, col in np.ndindex(2, 3, 3):
        window = np.s_[view, row * 7 : row * 7 + 7, col * 7 : col * 7 + 7]
        inside = coords[window][valid[window]]
        assert known[view, row, col] == (len(inside) > 0)
        np.testing.assert_allclose(mean[view, row, col], inside.mean(axis=0) if len(inside) else 0, atol=1e-5)


def test_a_patch_without_depth_has_no_position() -> None:
    mean, known = patch_coords(np.ones((1, 4, 4, 3), np.float32), np.zeros((1, 4, 4), bool), 2, 2)
    assert not known.any() and not mean.any()


def test_too_many_patches_are_refused() -> None:
    with pytest.raises(ValueError, match="14 patches of 27 pixels need 378"):
        patch_coords(np.zeros((1, 100, 100, 3), np.float32), None, 14, 27)


def plain_object_masks(coords, boxes, patch, cells, min_share, valid) -> np.ndarray:
    """The twin: every box, every patch, every pixel."""
    inside = contains(boxes, coords) & valid
    masks = np.zeros((len(boxes), len(coords), cells, cells), bool)
    for n, view, row, col in np.ndindex(masks.shape):
        window = inside[n, view, row * patch : (row + 1) * patch, col * patch : (col + 1) * patch]
        masks[n, view, row, col] = window.sum() >= int(patch * patch * min_share)
    return masks


@given(seed=st.integers(0, 10**6), share=st.sampled_from([0.25, 0.5, 1.0]))
@settings(max_examples=25)
def test_object_masks_equal_their_plain_twin(seed: int, share: float) -> None:
    coords, valid = _coords(seed)
    rng = np.random.default_rng(seed)
    boxes = np.concatenate([rng.uniform(-1, 1, (4, 3)), rng.uniform(0.1, 3, (4, 3))], axis=1).astype(np.float32)
    expected = plain_object_masks(coords, boxes, 6, 4, share, valid)
    np.testing.assert_array_equal(object_masks(coords, boxes, 6, 4, share, valid), expected)
    unknown = np.where(valid[..., None], coords, np.float32(np.nan))
    np.testing.assert_array_equal(object_masks(unknown, boxes, 6, 4, share), expected)


def test_no_boxes_no_masks() -> None:
    assert object_masks(np.zeros((2, 8, 8, 3), np.float32), np.zeros((0, 6)), 4, 2, 0.5).shape == (0, 2, 2, 2)


def plain_max_coverage(voxels: list[np.ndarray], limit: int) -> tuple[list[int], list[int]]:
    """The twin: recount every set in every round."""
    covered: set[int] = set()
    order, gains = [], []
    left = list(range(len(voxels)))
    while left and len(order) < limit:
        fresh = [len(set(voxels[i].tolist()) - covered) for i in left]
        best = left[int(np.argmax(fresh))]  # argmax takes the first of equals
        order.append(best)
        gains.append(max(fresh))
        covered |= set(voxels[best].tolist())
        left.remove(best)
    return order, gains


@given(sets=st.lists(st.sets(st.integers(0, 30)), max_size=8), limit=st.integers(1, 10))
def test_max_coverage_equals_its_plain_twin(sets: list[set[int]], limit: int) -> None:
    voxels = [np.array(sorted(members), np.int64) for members in sets]
    order, gains = max_coverage(voxels, limit)
    assert (order, gains) == plain_max_coverage(voxels, limit)
    assert gains == sorted(gains, reverse=True)
    if limit >= len(sets):
        assert sum(gains) == len(set().union(*sets))


def test_the_union_of_many_sets() -> None:
    rng = np.random.default_rng(0)
    sets = [np.unique(rng.integers(0, 5000, 100)) for _ in range(3 * UNION_SETS + 1)]
    np.testing.assert_array_equal(union(sets), np.unique(np.concatenate(sets)))
    assert union([]).shape == (0,)


def test_ties_go_to_the_earlier_set() -> None:
    voxels = [np.array(v) for v in ([1, 2], [5, 6, 7], [8, 9, 10], [1, 2])]
    assert max_coverage(voxels, 4) == ([1, 2, 0, 3], [3, 3, 2, 0])


@pytest.mark.parametrize("at_once", [1, 30, 10_000])
def test_means_of_voxels_are_those_of_all_their_points(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(voxels, "FEW_POINTS", at_once)
    rng = np.random.default_rng(0)
    points, weight, values = rng.normal(size=(300, 3)), rng.uniform(0.1, 2, (300, 1)), rng.normal(size=(300, 2))
    sums = VoxelSums(0.5, values=2, most=300)
    for start in range(0, 300, 20):
        some = slice(start, start + 20)
        sums.add(points[some], weight[some], values[some])
    found = sums.means()
    keys = pack_keys(np.floor(points / 0.5))
    assert 1 < len(found[0]) < 300
    for at, key in enumerate(np.unique(keys)):
        inside = keys == key
        np.testing.assert_allclose(found[0][at], weight[inside].sum())
        np.testing.assert_allclose(found[1][at], np.average(points[inside], axis=0, weights=weight[inside, 0]))
        np.testing.assert_allclose(found[2][at], np.average(values[inside], axis=0, weights=weight[inside, 0]))


def test_voxels_grow_where_they_would_be_too_many_and_lose_nothing() -> None:
    points = np.random.default_rng(0).uniform(-1, 1, (500, 3))
    sums = VoxelSums(0.01, values=1, most=40, growth=1.5)
    sums.add(points, np.ones((500, 1)), points[:, :1])
    weight, middles, values = sums.means()
    assert 40 / 1.5**3 / 2 < len(weight) <= 40 and sums.voxel_size > 0.01
    assert weight.sum() == 500
    np.testing.assert_allclose(weight @ middles / 500, points.mean(axis=0), atol=1e-12)
    np.testing.assert_allclose(values[:, 0], middles[:, 0], atol=1e-12)
