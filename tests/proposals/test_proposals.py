"""Proposals: boxes of known things are found, each cue does its part, and damage is survived."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from llava.captures.scannet import read_data_scene
from llava.geometry.boxes import iou
from llava.proposals import Cues, boxes_in, fusion, propose
from llava.proposals.fusion import Cloud, fuse
from llava.proposals.shell import Wall, find_shell
from llava.types import Scene

WHITE, BROWN, RED, BLUE = (230, 230, 226), (130, 90, 50), (200, 30, 30), (40, 60, 190)
STEP = 0.025
TABLE = np.array([1.0, 0.5, 0.35, 1.2, 0.8, 0.7])
CARTON = np.array([1.2, 0.5, 0.825, 0.3, 0.3, 0.25])  # on the table
STOOL = np.array([-1.0, -0.5, 0.25, 0.4, 0.4, 0.5])
CHEST = np.array([-0.575, -0.5, 0.25, 0.45, 0.4, 0.5])  # touches the stool, has its colour and its height
PICTURE = np.array([0.5, 1.99, 1.6, 0.8, 0.02, 0.6])  # on the wall y = 2


def plate(normal: tuple[int, int, int], at: float, low: tuple[float, float], high: tuple[float, float], rgb) -> list:
    """Points, normals and colours of a rectangle across an axis, one point a voxel."""
    axis = int(np.argmax(np.abs(normal)))
    first, second = (np.arange(a + STEP / 2, b, STEP) for a, b in zip(low, high, strict=True))
    across = np.stack(np.meshgrid(first, second), axis=-1).reshape(-1, 2)
    points = np.insert(across, axis, at, axis=1)
    return [points, np.tile(np.array(normal, float), (len(points), 1)), np.tile(np.array(rgb, float), (len(points), 1))]


def block(box: np.ndarray, rgb: tuple[int, int, int]) -> list[list]:
    """All sides of a box but its bottom."""
    low, high = box[:3] - box[3:] / 2, box[:3] + box[3:] / 2
    sides = [plate((0, 0, 1), high[2], low[:2], high[:2], rgb)]
    for axis in (0, 1):
        rest = [k for k in range(3) if k != axis]
        for sign, at in ((-1, low[axis]), (1, high[axis])):
            normal = tuple(sign if k == axis else 0 for k in range(3))
            sides.append(plate(normal, at, low[rest], high[rest], rgb))
    return sides


def room(*things: list) -> Cloud:
    """A room of 4 x 4 x 2.5 m in which things stand."""
    parts = [
        plate((0, 0, 1), 0, (-2, -2), (2, 2), BROWN),
        plate((0, 0, -1), 2.5, (-2, -2), (2, 2), WHITE),
        *(plate((-s, 0, 0), s * 2.0, (-2, 0), (2, 2.5), WHITE) for s in (-1, 1)),
        *(plate((0, -s, 0), s * 2.0, (-2, 0), (2, 2.5), WHITE) for s in (-1, 1)),
        *things,
    ]
    points, normals, rgb = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    return Cloud(points, normals, rgb, np.full(len(points), 2.0), STEP)


@pytest.fixture(scope="module")
def furnished() -> Cloud:
    low, high = PICTURE[[0, 2]] - PICTURE[[3, 5]] / 2, PICTURE[[0, 2]] + PICTURE[[3, 5]] / 2
    picture = plate((0, -1, 0), 1.98, low, high, BLUE)
    return room(*block(TABLE, BROWN), *block(CARTON, RED), *block(STOOL, RED), picture)


def best(cloud: Cloud, true: np.ndarray, cues: Cues | None = None) -> float:
    boxes = boxes_in(cloud, cues or Cues())
    return float(iou(true[None], boxes).max(initial=0)) if len(boxes) else 0.0


@pytest.mark.parametrize("true", [TABLE, CARTON, STOOL, PICTURE], ids=["table", "carton", "stool", "picture"])
def test_what_stands_lies_and_hangs_is_found(furnished: Cloud, true: np.ndarray) -> None:
    assert best(furnished, true) > 0.6


def test_there_are_few_boxes_and_none_of_the_room_itself(furnished: Cloud) -> None:
    boxes = boxes_in(furnished, Cues())
    assert 4 <= len(boxes) <= 12
    assert boxes[:, 3:].max() < 1.5


def test_without_its_cue_a_thing_is_lost(furnished: Cloud) -> None:
    assert best(furnished, PICTURE, Cues(walls=0)) < 0.1


def test_things_of_one_colour_part_where_their_surfaces_meet_in_a_concave_edge() -> None:
    stacked = np.array([0.0, 0.0, 0.7, 0.3, 0.3, 0.4])
    cloud = room(*block(np.array([0.0, 0.0, 0.25, 0.8, 0.8, 0.5]), RED), *block(stacked, RED))
    assert best(cloud, stacked, Cues(color=0)) > 0.6
    assert best(cloud, stacked) > 0.6


def test_what_floats_is_held_up_by_something_not_seen() -> None:
    shade = np.array([0.0, 0.0, 1.4, 0.4, 0.4, 0.3])
    assert best(room(*block(shade, RED)), np.array([0.0, 0.0, 0.775, 0.4, 0.4, 1.55])) > 0.8


def test_shell_is_measured_and_a_wardrobe_is_no_wall() -> None:
    wardrobe = np.array([-1.7, 0.0, 1.0, 0.6, 1.6, 2.0])
    shell = find_shell(room(*block(wardrobe, RED)))
    assert shell.floor == pytest.approx(0, abs=0.005) and shell.ceiling == pytest.approx(2.5, abs=0.005)
    assert sorted((wall.axis, wall.sign, round(wall.at, 2)) for wall in shell.walls) == [
        (0, -1, 2.0),
        (0, 1, -2.0),
        (1, -1, 2.0),
        (1, 1, -2.0),
    ]


def test_a_wall_tells_how_far_points_stand_out_of_it_into_the_room() -> None:
    wall = Wall(axis=1, sign=-1, at=2.0, low=-1.0, high=1.0)
    points = np.array([[0.0, 1.5, 1.0], [3.0, 2.5, 1.0]])
    np.testing.assert_allclose(wall.offset(points), [0.5, -0.5])
    assert wall.spans(points, 0.1).tolist() == [True, False]


@pytest.fixture(scope="module")
def scene(rooms_data: Path) -> Scene:
    return read_data_scene(rooms_data, "scannet/scene0000_00")


def test_a_cloud_lies_on_the_surface_and_looks_at_the_cameras(scene: Scene) -> None:
    cloud = fuse(scene)
    assert np.linalg.norm(cloud.normals, axis=1) == pytest.approx(1, abs=1e-6)
    floor = cloud.points[(np.abs(cloud.points[:, 2]) < 0.05) & (cloud.normals[:, 2] > 0.9)]
    assert len(floor) > 500 and np.abs(floor[:, 2]).mean() < 0.01


def test_the_order_of_frames_is_of_no_matter(scene: Scene) -> None:
    forth, back = fuse(scene, [0, 1, 2]), fuse(scene, [2, 1, 0])
    np.testing.assert_allclose(forth.points, back.points, atol=1e-6)


def test_a_scene_too_large_is_seen_more_coarsely(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    fine = fuse(scene)
    monkeypatch.setattr(fusion, "MOST_VOXELS", len(fine.points) // 2)
    coarse = fuse(scene)
    assert coarse.voxel > fine.voxel and len(coarse.points) <= len(fine.points) // 2


def test_proposals_are_the_same_each_time(scene: Scene) -> None:
    first = propose(scene)
    assert first.dtype == np.float32 and first.shape[1] == 6 and len(first) > 0 and (first[:, 3:] > 0).all()
    np.testing.assert_array_equal(first, propose(scene))


def test_where_nothing_is_seen_nothing_is_proposed(scene: Scene, tmp_path: Path) -> None:
    frames = []
    for frame in scene.frames:
        depth = tmp_path / frame.depth.name
        Image.fromarray(np.zeros_like(np.array(Image.open(frame.depth)))).save(depth)
        frames.append(replace(frame, depth=depth))
    assert propose(replace(scene, frames=tuple(frames))).shape == (0, 6)
    assert propose(scene, []).shape == (0, 6)


@pytest.mark.slow
def test_most_objects_of_a_room_are_found_with_few_boxes(tmp_path: Path) -> None:
    from llava.prepare.run import prepare
    from llava.rooms.make import make_rooms

    data = make_rooms(tmp_path / "data", 2, seed=7, val=1, workers=1)
    prepare(data, workers=1)
    (name,) = boxes = json.loads((data / "metadata/scannet_train_gt_box.json").read_text())
    groups = json.loads((data / "scannet/scans/scene0000_00/scene0000_00.aggregation.json").read_text())["segGroups"]
    true = np.array([boxes[name][g["objectId"]] for g in groups if g["label"] not in ("wall", "floor", "ceiling")])
    found = propose(read_data_scene(data, name))
    assert len(found) <= 3 * len(true)
    assert (iou(true, found).max(axis=1) > 0.25).mean() >= 0.75
