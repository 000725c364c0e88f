"""Proposal masks: as imprecise as promised, and stored as the reference's detector stores its own."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from llava.geometry.boxes import boxes_from_points, iou
from llava.rooms.detector import MOST, detect
from llava.rooms.furniture import CLUTTER
from llava.rooms.layout import make_room
from llava.rooms.mesh import room_mesh
from llava.rooms.scan import scan_room
from llava.rooms.write import write_masks

ROOMS = 40


def boxes_of(scan, masks):
    points = np.concatenate([scan.vertices[mask] for mask in masks])
    return boxes_from_points(points, np.repeat(np.arange(len(masks)), [len(mask) for mask in masks]))[1]


@pytest.fixture(scope="module")
def scans():
    rooms = [make_room(seed, f"scene{seed:04d}_00") for seed in range(ROOMS)]
    return [(room, scan_room(room, room_mesh(room), np.random.default_rng(room.seed))) for room in rooms]


@pytest.fixture(scope="module")
def overlaps(scans):
    """A matrix (objects, proposals) of IoUs a room."""
    found = []
    for room, scan in scans:
        objects = [item.id for item in room.items if not item.shell and item.label not in CLUTTER]
        truth = boxes_of(scan, [np.flatnonzero(scan.items == i) for i in objects])
        found.append(iou(truth, boxes_of(scan, detect(room, scan, np.random.default_rng(room.seed)))))
    return found


def test_recall_is_a_good_detectors(overlaps):
    best = np.concatenate([matrix.max(axis=1) for matrix in overlaps])
    assert (best >= 0.25).mean() == pytest.approx(0.96, abs=0.025)
    assert (best >= 0.5).mean() == pytest.approx(0.88, abs=0.035)
    assert ((best > 0.5) & (best < 0.97)).mean() > 0.8  # and hardly a box is perfect


def test_some_proposals_are_no_object(overlaps):
    false = [(matrix.max(axis=0) < 0.45).sum() for matrix in overlaps]
    assert 3 <= np.mean(false) <= 7


def test_masks_are_sorted_and_bounded(scans):
    room, scan = scans[0]
    masks = detect(room, scan, np.random.default_rng(0))
    assert len(masks) <= MOST
    for mask in masks:
        assert len(mask) >= 3
        assert (np.diff(mask) > 0).all()
        assert mask.max() < len(scan.vertices)


def test_order_does_not_tell_the_object(scans):
    room, scan = scans[1]
    first = [detect(room, scan, np.random.default_rng(seed))[0] for seed in range(12)]
    assert len({int(np.bincount(scan.items[mask]).argmax()) for mask in first}) > 3


def test_masks_read_as_a_sparse_matrix_like_the_references(scans, tmp_path, golden):
    room, scan = scans[2]
    masks = detect(room, scan, np.random.default_rng(2))
    path = tmp_path / "scene0002_00.mask.npz"
    write_masks(path, masks, len(scan.vertices))
    matrix = sparse.load_npz(path)
    assert matrix.shape == (len(masks), len(scan.vertices))
    for k, mask in enumerate(masks):
        np.testing.assert_array_equal(matrix[k].indices, mask)
    ours = np.load(path)
    theirs = np.load(golden("07_preprocessing") / "scannet_scan/data/scannet/mask/scene0003_00.mask.npz")
    assert {key: ours[key].dtype for key in ours} == {key: theirs[key].dtype for key in theirs}
