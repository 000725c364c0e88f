"""Boxes are drawn where the object is, in the frame and in the map."""

from __future__ import annotations

import numpy as np
import pytest

from llava.report.charts import smoothed
from llava.report.pictures import NEAR, PREDICTED_COLOR, TRUE_COLOR, clip_near
from llava.report.scenes import Scenes

NO_BOXES = np.zeros((0, 6))


@pytest.fixture
def look(data):
    return Scenes(data, {"strategy": "uniform", "frames": 6}).look_at("scannet/scene0000_00")


def near(picture, color, tolerance=40) -> np.ndarray:
    """(H, W) bool: pixels of about that colour."""
    return np.abs(np.asarray(picture).astype(int) - color).max(axis=-1) < tolerance


def test_segments_are_cut_at_the_near_plane() -> None:
    front, behind = np.array([1.0, 0.0, 2.0]), np.array([1.0, 0.0, -2.0])
    assert clip_near(behind, behind) is None
    start, end = clip_near(behind, front)
    assert start[2] == pytest.approx(NEAR)
    assert (end == front).all()
    np.testing.assert_allclose(clip_near(front, behind)[1], start)


def test_box_is_drawn_around_the_object(look, room) -> None:
    item = max((i for i in room.items if not i.shell), key=lambda i: np.prod(i.box[3:]))
    position = look.best_frame(item.box[None])
    picture = look.frame_with_boxes(position, item.box[None], NO_BOXES)
    drawn = near(picture, TRUE_COLOR)
    assert drawn.sum() > 100
    points, known = look.points[position], look.depths[position] > 0
    low, high = item.box[:3] - item.box[3:] / 2, item.box[:3] + item.box[3:] / 2
    rows, cols = np.nonzero(((points >= low) & (points <= high)).all(axis=-1) & known)
    scale = picture.width / look.depths[position].shape[1]
    box_rows, box_cols = np.nonzero(drawn)
    # The outline encloses the object's own pixels (half a pixel of the small frames aside).
    for own, outline, limit in ((rows, box_rows, picture.height), (cols, box_cols, picture.width)):
        assert outline.min() <= max(own.min() * scale + scale, scale)
        assert outline.max() >= min(own.max() * scale - scale, limit - scale)


def test_map_shows_true_and_predicted_boxes(look, room) -> None:
    boxes = np.stack([item.box for item in room.items if not item.shell][:2])
    picture = look.map_with_boxes(boxes[:1], boxes[1:], side=200)
    assert picture.size == (200, 200)
    assert near(picture, TRUE_COLOR).any()
    assert near(picture, PREDICTED_COLOR).any()


def test_a_scene_that_is_not_there_is_none(data) -> None:
    assert Scenes(data, {}).look_at("scannet/scene9999_00") is None


def test_smoothing_keeps_a_constant_and_the_length() -> None:
    np.testing.assert_allclose(smoothed(np.full(7, 2.0), window=5), 2.0)
